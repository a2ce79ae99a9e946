import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SETTING_DEFINITIONS } from '../../src/config.js';
import { lockFile } from '../../src/servers/data-folder.js';
import { startTime } from '../../src/servers/process.js';
import { farmConfigFile } from '../../src/servers/running-farms.js';
import { runPiw } from '../helpers/command.js';

t.setTimeout(300_000);

interface ShownConfig {
  readonly files: readonly string[];
  readonly settings: readonly { readonly name: string; readonly value: unknown; readonly source: string }[];
}

void t.test('piw config show prints each value with its origin, and no password', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'piw-home-'));
  const file = join(home, 'piwheels.conf');
  writeFileSync(file, '# ours\ndsn = postgres://piw:hunter2@db/piwheels\nwatch = six\nwatch = idna\n');
  const env = { ...process.env, HOME: home, PIW_TIMEOUT: '30m' };
  const [text, json] = await Promise.all([
    runPiw(['config', 'show', '-c', file], env),
    runPiw(['config', 'show', '-c', file, '--nats', 'nats://m:pw@host', '--json'], env),
  ]);
  t.same([text.code, text.err], [0, '']);
  t.match(text.out, `dsn                    postgres://piw:***@db/piwheels  ${file}, line 2\n`);
  t.match(text.out, /^watch +six, idna +\S+, line 4$/m);
  t.match(text.out, /^timeout +1800 +PIW_TIMEOUT$/m);
  t.match(text.out, /^contact +- +default$/m);
  const { files, settings } = JSON.parse(json.out) as ShownConfig;
  t.same(files, [file]);
  t.same(
    settings.map(({ name }) => name),
    Object.keys(SETTING_DEFINITIONS),
  );
  const shown = (name: string) => settings.find((setting) => setting.name === name);
  t.same(shown('nats'), { name: 'nats', value: 'nats://m:***@host', source: 'option', option: '--nats' });
  t.same(shown('dsn'), {
    name: 'dsn',
    value: 'postgres://piw:***@db/piwheels',
    source: 'file',
    file,
    line: 2,
  });
});

void t.test(
  'commands use the running farm of their user, and say so, but not once it was killed',
  async (t) => {
    const home = mkdtempSync(join(tmpdir(), 'piw-home-'));
    const dataDir = mkdtempSync(join(tmpdir(), 'piw-data-'));
    const env = { ...process.env, HOME: home, XDG_STATE_HOME: home, XDG_DATA_HOME: home };
    mkdirSync(join(home, 'piw', 'farms'), { recursive: true });
    writeFileSync(join(home, 'piw', 'farms', 'a'), dataDir);
    writeFileSync(farmConfigFile(dataDir), 'nats = localhost:4999\n');
    const lock = (start: string) => {
      writeFileSync(lockFile(dataDir), `${process.pid} ${start}\n`);
    };
    const natsOf = async (...args: readonly string[]) => {
      const { out, err } = await runPiw(['config', 'show', '--json', ...args], env);
      const { settings } = JSON.parse(out) as ShownConfig;
      return [settings.find(({ name }) => name === 'nats')?.value, err];
    };
    lock(startTime(process.pid));
    const notice = `piw: using the farm in ${dataDir} (process ${process.pid} on this machine)\n`;
    const [found, quiet, chosen] = await Promise.all([natsOf(), natsOf('-q'), natsOf('--nats', 'elsewhere')]);
    t.same(
      [found, quiet, chosen],
      [
        ['localhost:4999', notice],
        ['localhost:4999', ''],
        ['elsewhere', ''],
      ],
    );
    lock('1');
    t.same(await natsOf(), ['localhost', '']);
  },
);
