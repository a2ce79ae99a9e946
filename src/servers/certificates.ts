/**
 * The variables that say which certificates this machine's programs trust, and which proxy they use: the
 * Cloud Gazer reads the index with them.
 */
export function tlsAndProxyEnv(): NodeJS.ProcessEnv {
  const names = [
    'NODE_EXTRA_CA_CERTS',
    'SSL_CERT_FILE',
    'SSL_CERT_DIR',
    'HTTP_PROXY',
    'HTTPS_PROXY',
    'NO_PROXY',
  ];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
