import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Bus } from '../../src/bus/bus.js';
import type { TlsFiles } from '../../src/bus/security.js';
import { freePort } from '../../src/servers/ports.js';
import { piwRunner } from '../helpers/command.js';
import { natsAddress } from '../helpers/bus.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { SAMPLE_PASSWORDS, startSampleServer } from '../helpers/nats.js';

t.setTimeout(200_000);

const skip = skipUnlessInstalled('openssl');

/** A certificate authority of our own, and the certificates that it has issued: PEM files in one folder. */
class CertificateAuthority {
  readonly folder = mkdtempSync(join(tmpdir(), 'piw-tls-'));
  readonly ca = join(this.folder, 'ca.pem');

  constructor() {
    this.#openssl(
      'req',
      '-x509',
      ...NEW_KEY_ARGS,
      '-days',
      '2',
      '-subj',
      '/CN=authority',
      '-keyout',
      this.#pathOf('ca.key'),
      '-out',
      this.ca,
    );
  }

  /** Issues a certificate for `names`, in the syntax of subjectAltName, and its key. */
  issue(stem: string, names: string, { days = 2 } = {}): { readonly cert: string; readonly key: string } {
    const [cert, key, request, extensions] = ['pem', 'key', 'csr', 'ext'].map((end) =>
      this.#pathOf(`${stem}.${end}`),
    ) as [string, string, string, string];
    this.#openssl('req', ...NEW_KEY_ARGS, '-subj', `/CN=${stem}`, '-keyout', key, '-out', request);
    writeFileSync(extensions, `subjectAltName = ${names}\n`);
    this.#openssl(
      'x509',
      '-req',
      '-in',
      request,
      '-CA',
      this.ca,
      '-CAkey',
      this.#pathOf('ca.key'),
      '-CAcreateserial',
      '-days',
      String(days),
      '-extfile',
      extensions,
      '-out',
      cert,
    );
    return { cert, key };
  }

  #pathOf(name: string): string {
    return join(this.folder, name);
  }

  #openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { stdio: 'ignore' });
  }
}

const NEW_KEY_ARGS = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Starts the sample of a single server, with its TLS block enabled. Returns its address. */
async function tlsServer(
  t: Test,
  authority: CertificateAuthority,
  names: string,
  { verify = false, days = 2 } = {},
): Promise<string> {
  const port = await freePort();
  const { cert, key } = authority.issue(`server-${port}`, names, { days });
  await startSampleServer(t, 'single.conf', (folder) => ({
    '0.0.0.0:4222': `127.0.0.1:${port}`,
    '/run/nats': folder,
    '/var/lib/nats': join(folder, 'js'),
    '# tls {': 'tls {',
    '#   cert_file: "/etc/nats/server.pem"': `  cert_file: ${JSON.stringify(cert)}`,
    '#   key_file: "/etc/nats/server.key"': `  key_file: ${JSON.stringify(key)}`,
    '#   ca_file: "/etc/nats/ca.pem"': `  ca_file: ${JSON.stringify(authority.ca)}`,
    '#   verify: false': `  verify: ${String(verify)}`,
    '# }': '}',
  }));
  return `tls://master:${SAMPLE_PASSWORDS.PIW_MASTER_PASSWORD}@127.0.0.1:${port}`;
}

const unreachable = (message: RegExp) => ({ code: 'PIW_UNREACHABLE', message });

void t.test('connections are encrypted, to servers whose certificate is trusted', { skip }, async (t) => {
  const authority = new CertificateAuthority();
  const address = await tlsServer(t, authority, 'IP:127.0.0.1');
  const tls = { ca: authority.ca };
  const bus = await Bus.connect({ address, name: 'a', tls });
  t.ok((await bus.rtt()) >= 0);
  await bus.drain();
  // The address need not be tls: if there are certificate files.
  await (await Bus.connect({ address: address.replace('tls:', 'nats:'), name: 'a', tls })).drain();

  const untrusted = unreachable(
    /certificate is not trusted: (?:self.signed|unable to).*; tls-ca must contain its authority$/,
  );
  await t.rejects(Bus.connect({ address, name: 'a' }), untrusted, 'a certificate of an unknown authority');
  await t.rejects(Bus.connect({ address, name: 'a', tls: { ca: new CertificateAuthority().ca } }), untrusted);
  await t.rejects(Bus.connect({ address, name: 'a', tls: { ca: '/nowhere' } }), { code: 'PIW_CONFIG' });
  await t.rejects(Bus.connect({ address, name: 'a', tls: { cert: authority.ca } }), { code: 'PIW_CONFIG' });

  const other = await tlsServer(t, authority, 'DNS:nats.example.org');
  await t.rejects(Bus.connect({ address: other, name: 'a', tls }), unreachable(/not trusted.*altnames/));
  const old = await tlsServer(t, authority, 'IP:127.0.0.1', { days: -1 });
  await t.rejects(
    Bus.connect({ address: old, name: 'a', tls }),
    unreachable(/not trusted: certificate has expired$/),
  );
});

void t.test('a client that requires TLS does not connect to a server without it', async (t) => {
  const address = natsAddress().replace('nats:', 'tls:');
  await t.rejects(
    Bus.connect({ address, name: 'a' }),
    unreachable(/: it has no TLS, which a tls:\/\/ address and /),
  );
});

void t.test('a server may require a client certificate', { skip }, async (t) => {
  const authority = new CertificateAuthority();
  const address = await tlsServer(t, authority, 'IP:127.0.0.1', { verify: true });
  const clientCertificate = authority.issue('master', 'DNS:master');
  const { ca } = authority;
  const connect = (tls: TlsFiles) => Bus.connect({ address, name: 'a', tls: { ca, ...tls } });
  await t.rejects(connect({}), unreachable(/: it requires a client certificate: set tls-cert and tls-key$/));
  const expired = authority.issue('expired', 'DNS:master', { days: -1 });
  await t.rejects(
    connect(expired),
    unreachable(/: it refuses the client certificate .*expired.pem \(tls-cert\), which has expired on /),
  );
  const foreign = new CertificateAuthority().issue('foreign', 'DNS:master');
  await t.rejects(
    connect(foreign),
    unreachable(/: it refuses the client certificate .*foreign.pem .* in the ca_file of nats-server$/),
  );
  const mixed = { cert: clientCertificate.cert, key: foreign.key };
  await t.rejects(
    connect(mixed),
    unreachable(/: the files in tls-ca, tls-cert and tls-key can't be used: .*key values mismatch$/),
  );
  await (await connect(clientCertificate)).drain();
});

void t.test('every command that connects accepts the TLS flags', { skip }, async (t) => {
  const authority = new CertificateAuthority();
  const address = await tlsServer(t, authority, 'IP:127.0.0.1');
  const piw = piwRunner({ nats: address, dsn: 'postgres://nobody@127.0.0.1:1/x' });
  const ca = ['--tls-ca', authority.ca];
  t.match(
    await piw('monitor', ...ca),
    { code: 5, err: /nothing is listening on piw.slaves.HELLO/ },
    'it has connected',
  );
  t.match(await piw('monitor'), { code: 5, err: /not trusted/ });
  t.match(await piw('abi', 'list', ...ca), { code: 5, err: /nothing is listening/ });
  t.match(await piw('queue', ...ca), { code: 5, err: /nothing is listening/ });
  t.match(await piw('actor', 'big-brother'), { code: 5, err: /not trusted/ });
  const slave = ['slave', '--allow-root', '--allow-exposed', '-m', address];
  t.match(await piw(...slave), { code: 5, err: /not trusted/ });
  t.match(await piw(...slave, '--tls-ca', '/nowhere'), { code: 2, err: /\/nowhere can't be read/ });
  const commands = 'master actor slave add remove import rebuild queue feed logger monitor'.split(' ');
  const helpTexts = await Promise.all(commands.map((command) => piw(command, '--help')));
  helpTexts.forEach(({ out }, i) =>
    t.match(out, /--tls-ca=FILE[^]*--tls-cert=FILE[^]*--tls-key=FILE/, commands[i] ?? ''),
  );
});
