import { X509Certificate } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { ErrorCode as NatsErrorCode, NatsError, nkeyAuthenticator, type ConnectionOptions } from 'nats';
import { PiwError, errorMessage } from '../errors.js';
import { parseAddress } from './address.js';
import { natsErrorCode } from './errors.js';
import { publicKeyOf } from './nkey.js';

/** Paths of PEM files. With any of them, or a tls:// address, a server without TLS is refused. */
export interface TlsFiles {
  /** The certificate authorities of the servers; by default those that the system trusts. */
  readonly ca?: string;
  /** The client certificate and its key, for servers that verify clients. */
  readonly cert?: string;
  readonly key?: string;
}

/** What a connection is secured with. */
export interface SecurityOptions {
  /** See parseAddress. */
  readonly address: string;
  /** The seed of our nkey; it takes precedence over the credentials in the address. */
  readonly seed?: string;
  readonly tls?: TlsFiles;
}

/** Returns the client library's options for authentication and TLS. Throws PIW_CONFIG. */
export function securityOptions(options: SecurityOptions): ConnectionOptions {
  return { ...authOptions(options), ...tlsOptions(options) };
}

/** Returns the options that authenticate us to the server. Throws PIW_CONFIG for an nkey seed that is not valid. */
function authOptions({ address, seed }: SecurityOptions): ConnectionOptions {
  const natsAddress = parseAddress(address);
  const key = seed ?? natsAddress.seed;
  if (key !== undefined) {
    publicKeyOf(key);
    return { authenticator: nkeyAuthenticator(new TextEncoder().encode(key)) };
  }
  const { user, pass } = natsAddress;
  return { ...(user === undefined ? {} : { user }), ...(pass === undefined ? {} : { pass }) };
}

/**
 * Returns the options for TLS, or none if the connection doesn't use it. The client library reads the files at each
 * connection, so a certificate can be renewed without a restart. Throws PIW_CONFIG.
 */
function tlsOptions({ address, tls = {} }: SecurityOptions): ConnectionOptions {
  const { ca, cert, key } = tls;
  if ((cert === undefined) !== (key === undefined))
    throw new PiwError('PIW_CONFIG', 'tls-cert and tls-key must be set together');
  for (const file of [ca, cert, key]) if (file !== undefined) assertReadable(file);
  const natsAddress = parseAddress(address);
  if (!natsAddress.tls && ca === undefined && cert === undefined) return {};
  return {
    tls: {
      ...(ca === undefined ? {} : { caFile: ca }),
      ...(cert === undefined ? {} : { certFile: cert }),
      ...(key === undefined ? {} : { keyFile: key }),
      // As a spread, because the library's type doesn't have this option, which it passes on to Node.
      ...{ checkServerIdentity: serverIdentityCheck(natsAddress.servers) },
    },
  };
}

/**
 * Returns the function that verifies a server's certificate. For a server with an IP address the client library
 * passes no host name, and Node assumes `localhost`; the certificate then has to be that of any of our servers.
 */
function serverIdentityCheck(servers: readonly string[]) {
  const hosts = servers.map((server) => server.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
  const addresses = hosts.filter((host) => isIP(host) !== 0);
  return (host: string, certificate: PeerCertificate): Error | undefined => {
    const unnamed = host === 'localhost' && !hosts.includes(host) && addresses.length > 0;
    const errors = (unnamed ? addresses : [host]).map((name) => checkServerIdentity(name, certificate));
    return errors.includes(undefined) ? undefined : errors[0];
  };
}

function assertReadable(file: string): void {
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    throw new PiwError('PIW_CONFIG', `${file} can't be read: ${errorMessage(error)}`, { cause: error });
  }
}

/** Returns why retrying is pointless; undefined if it may help. `tls` has the files that were used. */
export function permanentFailureReason(error: unknown, tls: TlsFiles = {}): string | undefined {
  const code = natsErrorCode(error);
  if (code === AUTHORIZATION_VIOLATION) return 'it refuses these credentials';
  if (code === SERVER_WITHOUT_TLS)
    return 'it has no TLS, which a tls:// address and each of tls-ca, tls-cert and tls-key require';
  const cause = error instanceof NatsError ? (error.chainedError ?? error) : error;
  const causeCode = (cause as { code?: unknown } | undefined)?.code;
  if (code === UNUSABLE_FILES)
    return `the files in tls-ca, tls-cert and tls-key can't be used: ${errorMessage(cause)}`;
  if (typeof causeCode !== 'string') return undefined;
  if (CERTIFICATE_ALERT_PATTERN.test(causeCode)) return clientCertificateProblem(tls.cert);
  if (!CERTIFICATE_ERROR_PATTERN.test(causeCode)) return undefined;
  const hint = AUTHORITY_ERROR_PATTERN.test(causeCode) ? '; tls-ca must contain its authority' : '';
  return `its certificate is not trusted: ${errorMessage(cause)}${hint}`;
}

/** Returns why a server that verifies clients has refused us. */
function clientCertificateProblem(file: string | undefined): string {
  if (file === undefined) return 'it requires a client certificate: set tls-cert and tls-key';
  const { validTo } = new X509Certificate(readFileSync(file));
  return Date.parse(validTo) < Date.now()
    ? `it refuses the client certificate ${file} (tls-cert), which has expired on ${validTo}`
    : `it refuses the client certificate ${file} (tls-cert): its authority must be in the ca_file of nats-server`;
}

const AUTHORIZATION_VIOLATION: string = NatsErrorCode.AuthorizationViolation;
const SERVER_WITHOUT_TLS: string = NatsErrorCode.ServerOptionNotAvailable;
const UNUSABLE_FILES: string = NatsErrorCode.Tls;
/** The error codes of OpenSSL and Node for a certificate that is not accepted. */
const CERTIFICATE_ERROR_PATTERN = /CERT|UNABLE_TO_|SELF_SIGNED|ALTNAME/;
/** Those of a certificate whose authority is unknown. */
const AUTHORITY_ERROR_PATTERN = /UNABLE_TO_|SELF_SIGNED/;
/** Those with which a server refuses ours, or asks for one. */
const CERTIFICATE_ALERT_PATTERN = /_ALERT_.*(?:CERTIFICATE|UNKNOWN_CA)/;
