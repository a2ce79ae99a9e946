import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { natsBinary } from '../helpers/nats.js';

const SCRIPT = fileURLToPath(new URL('../../../config/nats/cluster-files.sh', import.meta.url));
const HOSTS = ['a.example.net', 'b.example.net', 'c.example.net'];

t.setTimeout(60_000);

void t.test(
  'the files of a cluster and its leaf nodes have no placeholder left, and are valid',
  async (t) => {
    const folder = join(mkdtempSync(join(tmpdir(), 'piw-cluster-files-')), 'out');
    execFileSync('sh', [SCRIPT, folder, ...HOSTS, 'attic', 'barn']);
    const machines = [...HOSTS, 'attic', 'barn'];
    t.same(readdirSync(folder).sort(), [...machines, 'piwheels.nats'].sort());
    const binary = await natsBinary(t);
    for (const machine of machines) {
      const path = join(folder, machine);
      const texts = readdirSync(path).map((file) => readFileSync(join(path, file), 'utf8'));
      t.notMatch(texts.join('\n'), /example\.org|_SECRET|site-1/, machine);
      const env = { ...process.env, ...readEnvironment(folder, machine) };
      const { status, stderr } = spawnSync(binary, ['-t', '-c', join(path, 'nats-server.conf')], { env });
      t.equal(status, 0, String(stderr));
    }
    t.equal(
      statSync(join(folder, 'a.example.net', 'nats-server.env')).mode & 0o077,
      0,
      'passwords are for root',
    );
    t.match(
      readFileSync(join(folder, 'attic', 'nats-server.conf'), 'utf8'),
      /urls: .*@a\..*@b\..*@c\./,
      'a leaf node knows all servers',
    );
    const again = spawnSync('sh', [SCRIPT, folder, ...HOSTS]);
    t.not(again.status, 0, 'existing files are not replaced');
  },
);

void t.test(
  'with an authority, clients, servers and leaf nodes use TLS',
  { skip: skipUnlessInstalled('openssl') },
  async (t) => {
    const base = mkdtempSync(join(tmpdir(), 'piw-cluster-files-'));
    const folder = join(base, 'out');
    const site = 'attic.example.net';
    execFileSync('sh', [SCRIPT, '--authority', join(base, 'authority'), folder, ...HOSTS, site]);
    t.match(
      readFileSync(join(folder, 'piwheels.nats'), 'utf8'),
      /^tls:\/\/master:p\w+@a\.example\.net,b\.example\.net,c\.example\.net\n$/,
    );
    const binary = await natsBinary(t);
    for (const machine of [...HOSTS, site]) {
      const path = join(folder, machine);
      const { subjectAltName } = new X509Certificate(readFileSync(join(path, 'server.pem')));
      t.equal(subjectAltName, `DNS:${machine}`);
      t.equal(statSync(join(path, 'server.key')).mode & 0o077, 0, 'keys are for root');
      for (const file of ['nats-server.conf', 'leaf-hub.conf'].filter((name) =>
        existsSync(join(path, name)),
      )) {
        const text = readFileSync(join(path, file), 'utf8');
        t.notMatch(
          text,
          /# *(?:tls|cert_file|verify:|\w*advertise:)/,
          `${machine}: nothing of ${file} is left out`,
        );
        writeFileSync(join(path, file), text.replaceAll('/etc/nats', path));
      }
      const env = { ...process.env, ...readEnvironment(folder, machine) };
      const { status, stderr } = spawnSync(binary, ['-t', '-c', join(path, 'nats-server.conf')], { env });
      t.equal(status, 0, String(stderr));
    }
  },
);

void t.test('a wrong host or site is refused before anything is written', (t) => {
  const folder = join(mkdtempSync(join(tmpdir(), 'piw-cluster-files-')), 'out');
  for (const args of [HOSTS.slice(1), ['a b', 'b', 'c'], ['a', 'a', 'c'], [...HOSTS, 'a/b'], ['--authority']])
    t.equal(spawnSync('sh', [SCRIPT, folder, ...args]).status, 2, args.join(', '));
  t.throws(() => statSync(folder), { code: 'ENOENT' });
  t.end();
});

/** Returns the environment that systemd would give to a machine's server. */
function readEnvironment(folder: string, machine: string): NodeJS.ProcessEnv {
  if (!HOSTS.includes(machine)) return {};
  const lines = readFileSync(join(folder, machine, 'nats-server.env'), 'utf8')
    .trim()
    .split('\n');
  return Object.fromEntries(
    lines.map((line): [string, string] => {
      const [name = '', value = ''] = line.split('=');
      return [name, value];
    }),
  );
}
