import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Bus } from '../../src/bus/bus.js';
import { parseConfig } from '../../src/settings/config-file.js';
import { loadSettings } from '../../src/settings/load.js';
import { slaveConnection } from '../../src/connection.js';
import { piwRunner } from '../helpers/command.js';
import { startFarmNats } from '../helpers/nats.js';

t.setTimeout(120_000);

void t.test('a slave can connect once it is added, and is disconnected once it is removed', async (t) => {
  const nats = await startFarmNats(t, ['local']);
  const piw = piwRunner({ nats: nats.master, 'nats-users': nats.usersFile, 'nats-pid': [nats.pidFile] });
  const file = nats.folder.join('pi4.conf');
  const added = await piw('slaves', 'add', 'pi4', '--label', 'in the attic', '--output', file);
  t.equal(added.code, 0, added.err);
  t.match(added.out, /the server accepts its key/);
  t.notMatch(added.out, /SU[A-Z2-7]{56}/, 'a key that is written to a file is not printed');
  t.equal(statSync(file).mode & 0o777, 0o600);

  const settings = loadSettings({}, file);
  t.match(settings, { 'slave-user': 'pi4', label: 'in the attic' });
  const slave = await Bus.connect({ ...slaveConnection(settings), name: 'pi4' });
  const ended = slave.closed();

  const printed = await piw('slaves', 'add', 'pi5', '--master', 'tls://nats.example.org');
  t.equal(printed.code, 0, printed.err);
  const printedLines = printed.out
    .split('\n')
    .flatMap((line) => (line.startsWith('    ') ? [line.trim()] : []));
  t.match(parseConfig(printedLines.filter((line) => line.includes(' = ')).join('\n'), 'printed'), {
    master: 'tls://nats.example.org',
    'slave-user': 'pi5',
    nkey: /^SU/,
  });
  t.match(printedLines, ['# Identity of this slave. Anyone who has the nkey can act as it: chmod 600.']);
  t.match(printedLines.at(-1), 'piw slave -c piwheels.conf');

  const { slaves } = JSON.parse((await piw('slaves', 'list', '--json')).out) as {
    slaves: { name: string; publicKey: string; label: string | null }[];
  };
  t.same(slaves.map(({ name }) => name).sort(), ['local', 'pi4', 'pi5']);
  t.notMatch(readFileSync(nats.usersFile, 'utf8'), /SU[A-Z2-7]{56}/, 'the server has no seeds');

  const duplicate = await piw('slaves', 'add', 'PI4');
  t.equal(duplicate.code, 1);
  t.match(duplicate.err, /^piw: slave pi4 already exists/);

  t.equal((await piw('slaves', 'remove', 'pi4')).code, 0);
  t.match(await ended, Error, 'its connection is closed for good');
  await t.rejects(Bus.connect({ ...slaveConnection(settings), name: 'pi4' }), { code: 'PIW_UNREACHABLE' });
  const secondRemoval = await piw('slaves', 'remove', 'pi4');
  t.equal(secondRemoval.code, 1);
  t.match(secondRemoval.err, /has no slave pi4/);
});

void t.test('an error is a single line, and changes nothing', async (t) => {
  const nats = await startFarmNats(t, []);
  const piw = piwRunner({ nats: nats.master, 'nats-users': nats.usersFile, 'nats-pid': [nats.pidFile] });
  const before = readFileSync(nats.usersFile, 'utf8');
  const cases: [readonly string[], number, RegExp][] = [
    [['slaves', 'add', 'master'], 2, /the slave name \w+ is reserved/],
    [['slaves', 'add', 'Admin'], 2, /the slave name \w+ is reserved/],
    [['slaves', 'add', 'a.b'], 2, /not a valid slave name/],
    [['slaves', 'add', 'a b'], 2, /not a valid slave name/],
    [['slaves', 'add', '*'], 2, /not a valid slave name/],
    [['slaves', 'add', '>'], 2, /not a valid slave name/],
    [['slaves', 'add', 'ä'], 2, /not a valid slave name/],
    [['slaves', 'add', '../x'], 2, /not a valid slave name/],
    [['slaves', 'add', 'x'.repeat(41)], 2, /not a valid slave name/],
    [['slaves', 'add'], 2, /NAME is missing; the command is piw slaves add NAME/],
    [['slaves', 'add', 'pi', '--label', 'a\nallow-exposed = true'], 2, /one line/],
    [['slaves', 'add', 'pi', '--output', join(nats.folder.path, 'none', 'pi.conf')], 2, /can't be created/],
    [['slaves', 'add', 'pi', '--nats-users', '/nowhere/users.conf'], 3, /there is no \/nowhere\/users.conf/],
    [['slaves', 'list', '--nats-users', '/nowhere/users.conf'], 3, /there is no \/nowhere\/users.conf/],
    [['slave', '--allow-root', '-m', 'nats://127.0.0.1:1'], 2, /no credentials.*piw slaves add/],
  ];
  for (const [args, code, message] of cases) {
    const result = await piw(...args);
    t.equal(result.code, code, `${args.join(' ')}: ${result.err}`);
    t.match(result.err, message);
    t.equal(result.err.trim().split('\n').length, 1, 'a single line');
  }
  t.equal(readFileSync(nats.usersFile, 'utf8'), before);

  writeFileSync(`${nats.usersFile}.new`, '');
  t.match(await piw('slaves', 'add', 'pi'), { code: 4, err: /another process is changing/ });
  writeFileSync(nats.usersFile, `${before}# mine\nother: { user: me }\n`);
  t.match(await piw('slaves', 'list'), { code: 2, err: /line \d+: not written by piw slaves/ });
});

void t.test('only a process that is a nats-server is told to reload', async (t) => {
  const nats = await startFarmNats(t, []);
  const stale = nats.folder.join('stale.pid');
  writeFileSync(stale, String(process.pid));
  let hangups = 0;
  process.once('SIGHUP', () => (hangups += 1));
  const piw = piwRunner({ nats: nats.master, 'nats-users': nats.usersFile, 'nats-pid': [stale] });
  const added = await piw('slaves', 'add', 'pi');
  t.equal(added.code, 0);
  t.match(
    added.out,
    /stale.pid\) was not told to reload its users: it is not running, and reads the file when it starts/,
  );
  t.match(added.out, /no server has accepted its key yet/);
  t.equal(hangups, 0);
});

void t.test('a world-readable or invalid key is refused', async (t) => {
  const nats = await startFarmNats(t, []);
  const key = nats.folder.join('pi.nk');
  const piw = piwRunner({
    'slave-user': 'pi',
    'slave-key': key,
    master: nats.master.replace(/\/\/.*@/, '//'),
  });
  const slave = async () => await piw('slave', '--allow-root', '--allow-exposed');
  t.match(await slave(), { code: 2, err: /the secret .*pi.nk can't be read/ });
  writeFileSync(key, 'SUnonsense\n', { mode: 0o644 });
  t.match(await slave(), { code: 2, err: /everybody can read the secret in .*chmod 600/ });
  writeFileSync(nats.folder.join('other.nk'), '', { mode: 0o600 });
  const ownKeyFile = nats.folder.join('own.nk');
  writeFileSync(ownKeyFile, '# a comment\nSUnonsense\n', { mode: 0o600 });
  const result = await piwRunner({
    'slave-user': 'pi',
    'slave-key': ownKeyFile,
    master: 'nats://127.0.0.1:1',
  })('slave', '--allow-root', '--allow-exposed');
  t.match(result, { code: 2, err: /not the seed of a NATS user/ });
  t.notMatch(result.err, /SUnonsense/, 'it is not printed');
});
