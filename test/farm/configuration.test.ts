import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import FarmCommand from '../../src/commands/farm.js';
import Master from '../../src/commands/master.js';
import Slave from '../../src/commands/slave.js';
import { SETTING_DEFINITIONS, type RawSettings, type Settings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { loadSettings, loadExplicitSettings } from '../../src/settings/load.js';
import {
  ineffectiveKeys,
  masterConfiguration,
  slaveWorkDir,
  slaveConfiguration,
} from '../../src/farm/configuration.js';
import { QUEUE_KEYS } from '../../src/settings/piwheels-queues.js';

const EXTERNAL_SERVER_FACTS = {
  nats: 'nats://own',
  dsn: 'postgresql://own',
  prefix: 'piw',
  outputPath: '/www',
  spool: '/data/spool',
  url: 'http://127.0.0.1/',
  followed: 'https://a.example/simple',
  builtFrom: 'https://a.example/simple',
  samples: false,
  watch: ['six'],
};
const MASTER_FACTS = { ...EXTERNAL_SERVER_FACTS, usersFile: '/data/users', pidFile: '/data/pid' };
const SLAVE_FACTS = {
  name: 'slave-1',
  isAlone: true,
  master: 'nats://own-slave',
  ownServer: true,
  prefix: 'piw',
  pythons: ['/usr/bin/python3'],
  workDir: '/data/slave-1',
};

/** Returns the settings as a command reads them from a file with this configuration. */
function readBack(configuration: RawSettings): Settings {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-configuration-')), 'piwheels.conf');
  writeFileSync(file, formatConfig(configuration));
  return loadSettings({}, file);
}

/** Returns a value for each key that is not its default. */
function nonDefaultValues(): RawSettings {
  const values = Object.entries(SETTING_DEFINITIONS).map(([name, key]) => {
    switch (key.kind) {
      case 'flag':
        return [name, true];
      case 'whole':
      case 'duration':
        return [name, 77];
      case 'list':
        return [name, name === 'build-env' ? ['ONE=1', 'TWO=2'] : ['/set/one', '/set/two']];
      case 'choice':
        return [name, key.choices.find((choice) => choice !== key.fallback)];
      default:
        return [name, '/set'];
    }
  });
  return Object.fromEntries(values) as RawSettings;
}

t.test('the farm takes every option of its master and its slaves', (t) => {
  const farm = Object.keys(FarmCommand.flags);
  // The farm itself decides these, and gives its slaves their addresses.
  // piwheels had no farm on one machine, so nobody has a command line of one with its queues.
  const farmOnlyFlags: readonly string[] = ['allow-root', 'master', 'once', ...QUEUE_KEYS];
  for (const command of [Master, Slave])
    for (const name of Object.keys(command.flags).filter((flag) => !farmOnlyFlags.includes(flag)))
      t.ok(farm.includes(name), name);
  t.end();
});

t.test('each explicit setting reaches the master or the slaves', (t) => {
  const set = loadExplicitSettings(nonDefaultValues(), undefined);
  const configurations = [
    masterConfiguration(set, EXTERNAL_SERVER_FACTS),
    slaveConfiguration(set, { ...SLAVE_FACTS, ownServer: false, master: '/set', pythons: set.python ?? [] }),
  ].map(readBack);
  // The farm decides these itself; and it writes its processes' output to log-file.
  const fixedKeys = Object.keys({
    ...MASTER_FACTS,
    nats: 0,
    dsn: 0,
    prefix: 0,
    watch: 0,
    'output-path': 0,
  }).concat(...['pypi-simple', 'index-url', 'work-dir', 'log-file', 'spool', 'user']);
  for (const name of Object.keys(SETTING_DEFINITIONS).filter((key) => !fixedKeys.includes(key))) {
    const key = name as keyof Settings;
    t.ok(
      configurations.some((configuration) => JSON.stringify(configuration[key]) === JSON.stringify(set[key])),
      name,
    );
  }
  t.end();
});

t.test("explicit settings override the farm's defaults, but not what only the farm knows", (t) => {
  const set = loadExplicitSettings(
    { nats: 'nats://other', 'poll-interval': '5m', dsn: 'postgresql://x' },
    undefined,
  );
  const defaults = readBack(masterConfiguration({}, MASTER_FACTS));
  t.match(defaults, { 'poll-interval': 60, history: 'newest', nats: 'nats://own', watch: ['six'] });
  const master = readBack(masterConfiguration(set, MASTER_FACTS));
  t.match(master, { 'poll-interval': 300, nats: 'nats://own', dsn: 'postgresql://own' });
  t.end();
});

t.test("a slave's configuration contains no secret of the master", (t) => {
  const set = loadExplicitSettings(
    { nats: 'nats://me:secret@x', dsn: 'postgresql://me:secret@x' },
    undefined,
  );
  t.notMatch(formatConfig(slaveConfiguration(set, { ...SLAVE_FACTS, ownServer: false })), /secret/);
  t.end();
});

t.test('slaves share neither a label nor a folder, and relative paths are resolved', (t) => {
  const set = loadExplicitSettings(
    { label: 'attic', 'work-dir': '/builds', 'build-path': ['rust/bin'] },
    undefined,
  );
  t.match(slaveConfiguration(set, SLAVE_FACTS), { label: 'attic', 'build-path': [resolve('rust/bin')] });
  t.match(slaveConfiguration(set, { ...SLAVE_FACTS, isAlone: false }), { label: 'attic slave-1' });
  t.equal(slaveWorkDir(set, 'slave-2'), '/builds/slave-2');
  t.equal(slaveConfiguration({}, SLAVE_FACTS).label, 'slave-1');
  t.end();
});

t.test("keys without effect on the farm's own nats-server are listed", (t) => {
  const set = loadExplicitSettings({ 'slave-key': '/key', timeout: '3h', 'tls-ca': '/ca' }, undefined);
  t.strictSame(ineffectiveKeys(set), ['tls-ca', 'slave-key']);
  t.strictSame(ineffectiveKeys({ ...set, nats: 'tls://servers' }), []);
  t.end();
});
