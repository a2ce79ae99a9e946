import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PiwError } from '../../src/errors.js';
import {
  defaultConfigFiles,
  presentConfigFiles,
  loadExplicitSettings,
  loadSettings,
  traceSettings,
} from '../../src/settings/load.js';
import { maskSetting } from '../../src/settings/mask.js';

/** Writes a file in a new folder, and returns its path. */
function write(contents: string, mode = 0o600): string {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-settings-')), 'piwheels.conf');
  writeFileSync(file, contents, { mode });
  return file;
}

/** Sets variables of the environment until the end of the test. */
function setVariables(t: Test, variables: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(variables)) {
    const previous = process.env[name];
    process.env[name] = value;
    t.teardown(() => {
      if (previous === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = previous;
    });
  }
}

function errorLine(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof PiwError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'no error';
}

t.test('the environment overrides the file, and options override both; each value knows its origin', (t) => {
  const file = write('# ours\ntimeout = 1h\nscribes = 2\noracles = 3\nwatch = a\nwatch = b\n');
  setVariables(t, { PIW_SCRIBES: '4', PIW_ORACLES: '5', PIW_WATCH: 'six  numpy==1.0', PIW_DEV_MODE: 'yes' });
  const traced = new Map(
    traceSettings({ oracles: 6 }, file).map(({ name, value, origin }) => [name, { value, origin }] as const),
  );
  t.strictSame(traced.get('timeout'), { value: 3600, origin: { source: 'file', file, line: 2 } });
  t.strictSame(traced.get('scribes'), {
    value: 4,
    origin: { source: 'environment', variable: 'PIW_SCRIBES' },
  });
  t.strictSame(traced.get('oracles'), { value: 6, origin: { source: 'option', option: '--oracles' } });
  t.strictSame(traced.get('watch')?.value, ['six', 'numpy==1.0']);
  t.strictSame(traced.get('jugglers'), { value: 1, origin: { source: 'default' } });
  t.strictSame(loadExplicitSettings({}, undefined), {
    scribes: 4,
    oracles: 5,
    watch: ['six', 'numpy==1.0'],
    'dev-mode': true,
  });
  t.end();
});

t.test('the items of a list in a variable are on lines of their own if they contain spaces', (t) => {
  setVariables(t, { PIW_BUILD_ENV: 'CFLAGS=-O2 -g\nLANG=C\n' });
  t.strictSame(loadSettings({}, '/dev/null')['build-env'], ['CFLAGS=-O2 -g', 'LANG=C']);
  t.end();
});

t.test('an error names the place of the value, and a mistyped variable the nearest one', (t) => {
  const file = write('\ntimeout = soon\n');
  t.equal(
    errorLine(() => loadSettings({}, file)),
    `PIW_CONFIG ${file}, line 2: timeout = soon: must be a duration such as 3h, 90m or 45s`,
  );
  setVariables(t, { PIW_TIMEOUT: 'later' });
  t.match(
    errorLine(() => loadSettings({}, file)),
    'PIW_CONFIG PIW_TIMEOUT=later: must be',
  );
  t.match(
    errorLine(() => loadSettings({ timeout: 'never' }, file)),
    'PIW_USAGE --timeout never: must be',
  );
  setVariables(t, { PIW_TIMEOUT: '1h', PIW_HOUSE_COLOUR: 'blue', PIW_TEST_DSNN: 'x' });
  t.equal(loadSettings({}, file).timeout, 3600);
  setVariables(t, { PIW_OUTPUT_PTH: '/srv' });
  t.equal(
    errorLine(() => loadSettings({}, file)),
    'PIW_CONFIG unknown environment variable PIW_OUTPUT_PTH; did you mean PIW_OUTPUT_PATH?',
  );
  t.end();
});

t.test('the default configuration files are those of piwheels', (t) => {
  setVariables(t, { HOME: '/home/piwheels' });
  t.strictSame(defaultConfigFiles(), [
    '/etc/piwheels.conf',
    '/usr/local/etc/piwheels.conf',
    '/home/piwheels/.config/piwheels/piwheels.conf',
  ]);
  t.end();
});

t.test('a default file that is there and is no readable file is an error', (t) => {
  const home = mkdtempSync(join(tmpdir(), 'piw-home-'));
  setVariables(t, { HOME: home });
  const own = join(home, '.config', 'piwheels', 'piwheels.conf');
  t.notOk(presentConfigFiles().includes(own));
  mkdirSync(own, { recursive: true });
  t.ok(presentConfigFiles().includes(own));
  t.match(
    errorLine(() => loadSettings({})),
    `PIW_CONFIG ${own} can't be read`,
  );
  t.end();
});

t.test('a secret may be in a file, unless everybody can read it', (t) => {
  const secret = write('# from the vault\npostgres://piw:hunter2@db/piwheels\n');
  const file = write(`dsn-file = ${secret}\n`);
  const dsn = () => traceSettings({}, file).find(({ name }) => name === 'dsn');
  t.strictSame(dsn(), {
    name: 'dsn',
    value: 'postgres://piw:hunter2@db/piwheels',
    origin: { source: 'file', file, line: 1, secretFile: secret },
  });
  setVariables(t, { PIW_NATS_FILE: write('nats://m:pw@host\n') });
  t.equal(loadSettings({}, file).nats, 'nats://m:pw@host');
  chmodSync(secret, 0o644);
  t.equal(errorLine(dsn), `PIW_CONFIG everybody can read the secret in ${secret}: run chmod 600 ${secret}`);
  chmodSync(secret, 0o640);
  t.equal(errorLine(dsn), 'no error');
  writeFileSync(secret, '# nothing\n');
  t.match(errorLine(dsn), 'PIW_CONFIG there is no secret in');
  t.match(
    errorLine(() => loadSettings({}, write('dsn-file = /nowhere/dsn\n'))),
    /PIW_CONFIG the secret \/nowhere\/dsn can't be read/,
  );
  t.match(
    errorLine(() => loadSettings({}, write('label-file = /etc/label\n'))),
    'unknown setting "label-file"',
  );
  t.end();
});

t.test('passwords and keys are masked', (t) => {
  t.equal(maskSetting('dsn', 'postgres://piw:hunter2@db/piw'), 'postgres://piw:***@db/piw');
  t.equal(maskSetting('dsn', "host=db password='a b' user=piw"), 'host=db password=*** user=piw');
  t.equal(maskSetting('dsn', 'postgres:///piw?password=x&host=db'), 'postgres:///piw?password=***&host=db');
  t.equal(maskSetting('nats', 'nats://m:pw@a,nats://m:pw@b'), 'nats://m:***@a,nats://m:***@b');
  t.equal(maskSetting('nkey', 'SUAM'), '***');
  t.equal(maskSetting('nkey', null), null);
  t.equal(maskSetting('output-path', '/srv/a:b@c'), '/srv/a:b@c');
  t.equal(maskSetting('timeout', 60), 60);
  t.end();
});
