/**
 * Returns the environment variables that name trusted certificates and proxies: the Cloud Gazer needs them to read
 * the index.
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
