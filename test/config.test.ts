import { mkdtempSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseVariables } from '../src/builder/environment.js';
import { settingsFromEnv, type RawSettings } from '../src/config.js';
import { formatConfig, parseConfig } from '../src/settings/config-file.js';
import { loadSettings } from '../src/settings/load.js';
import { PiwError, type ErrorCode } from '../src/errors.js';
import { parseDuration } from '../src/units.js';

const settings = (options: RawSettings) => loadSettings(options, '/dev/null');

/** Returns the message of the error with this code that `action` throws. */
function errorOf(action: () => unknown, code: ErrorCode): string {
  try {
    action();
  } catch (error) {
    if (error instanceof PiwError && error.code === code) return error.message;
    throw error;
  }
  return 'no error';
}

const configError = (action: () => unknown): string => errorOf(action, 'PIW_CONFIG');
/** The error for settings of the command line. */
const usageError = (action: () => unknown): string => errorOf(action, 'PIW_USAGE');

void t.test('options override the file, and the file overrides the defaults', (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'config-')), 'piwheels.conf');
  writeFileSync(file, 'oracles = 5\nscribes = 3\nwatch = a\nwatch = b\nallow-root = yes\n');
  const { oracles, scribes, jugglers, watch, ...otherSettings } = loadSettings(
    { oracles: 7, watch: undefined },
    file,
  );
  t.strictSame([oracles, scribes, jugglers, watch], [7, 3, 1, ['a', 'b']]);
  // oclif reports false for a flag that is not on the command line.
  t.equal(loadSettings({ 'allow-root': false }, file)['allow-root'], true);
  t.equal(otherSettings['allow-superuser'], false);
  t.match(
    configError(() => loadSettings({}, `${file}.none`)),
    /piwheels\.conf\.none can't be read/,
  );
  t.end();
});

void t.test('a choice must be spelled exactly', (t) => {
  const { removed, history, 'backlog-order': order } = settings({ removed: 'hide', history: 'newest' });
  t.strictSame([removed, history, order], ['hide', 'newest', 'newest']);
  t.equal(
    usageError(() => settings({ removed: 'hidden' })),
    '--removed hidden: must be one of keep, hide, delete',
  );
  t.equal(settings({})['on-duplicate-filename'], 'tag-removed');
  t.equal(
    usageError(() => settings({ 'on-duplicate-filename': 'replace' })),
    '--on-duplicate-filename replace: must be one of refuse, tag-removed, tag',
  );
  t.match(
    usageError(() => settings({ history: '' })),
    /one of all, newest/,
  );
  t.match(
    usageError(() => settings({ 'backlog-order': 'Oldest' })),
    /one of newest, oldest/,
  );
  t.end();
});

void t.test('rates and weights are at least 1', (t) => {
  for (const name of ['pypi-rate', 'weight-requests', 'weight-releases', 'weight-backlog'] as const) {
    t.equal(settings({ [name]: '1' })[name], 1);
    for (const value of ['0', '-1', '1.5', '', 'many'])
      t.match(
        usageError(() => settings({ [name]: value })),
        /must be a whole number of at least 1$/,
        `${name} = ${value}`,
      );
  }
  t.equal(settings({ scribes: '0' }).scribes, 0);
  t.match(
    usageError(() => settings({ scribes: '-1' })),
    /must be a whole number$/,
  );
  t.end();
});

void t.test('a flag accepts the usual words for true and false, and a path becomes absolute', (t) => {
  for (const value of ['true', 'YES', 'on', '1', ''])
    t.equal(settings({ 'dev-mode': value })['dev-mode'], true);
  for (const value of ['false', 'No', 'off', '0'])
    t.equal(settings({ 'dev-mode': value })['dev-mode'], false);
  t.match(
    usageError(() => settings({ 'dev-mode': 'perhaps' })),
    /must be true or false$/,
  );
  t.equal(settings({ 'output-path': '~/www' })['output-path'], join(homedir(), 'www'));
  t.equal(settings({ 'output-path': 'www' })['output-path'], join(process.cwd(), 'www'));
  t.equal(settings({})['work-dir'], null);
  t.end();
});

void t.test('a build variable is NAME=VALUE, and none that the builder sets itself', (t) => {
  const { 'build-env': variables } = settings({ 'build-env': ['CFLAGS=-O2 -g', 'EMPTY=', '_a1=b=c'] });
  t.strictSame(parseVariables(variables), { CFLAGS: '-O2 -g', EMPTY: '', _a1: 'b=c' });
  t.strictSame(parseVariables(['A=1', 'A=2']), { A: '2' });
  for (const wrong of ['CFLAGS', '=x', '1A=x', 'A-B=x', 'A=x\ny', 'A=\0'])
    t.match(
      usageError(() => settings({ 'build-env': [wrong] })),
      /: must be NAME=VALUE, an environment variable$/,
    );
  for (const name of ['HOME', 'TMPDIR', 'XDG_CACHE_HOME', 'PIP_CONFIG_FILE', 'PIW_BUILD'])
    t.equal(
      usageError(() => settings({ 'build-env': ['A=1', `${name}=x`] })),
      `--build-env ${name}=x: the builder sets ${name} itself`,
    );
  t.match(
    usageError(() => settings({ 'build-env': 'PATH=/opt/bin' })),
    /use build-path to add folders of programs$/,
  );
  t.end();
});

void t.test('a file has lines of key = value, and an error names the line', (t) => {
  const contents =
    '# Ours\n[master]\n\npypi_rate = 3  # gently\nwatch = six\r\nwatch=zope.*\n  dsn = a\ndsn = b\n';
  t.strictSame(parseConfig(contents, 'f'), { 'pypi-rate': '3', watch: ['six', 'zope.*'], dsn: 'b' });
  t.strictSame(parseConfig(formatConfig({ watch: ['a', 'b'], oracles: 2 }), 'f'), {
    watch: ['a', 'b'],
    oracles: '2',
  });
  t.equal(
    configError(() => parseConfig('dsn = a\nhello\n', 'f')),
    'f, line 2: not of the form key = value',
  );
  t.equal(
    configError(() => parseConfig('pypi-speed = 3\n', 'f')),
    'f, line 1: unknown setting "pypi-speed"',
  );
  t.equal(
    configError(() => parseConfig('\noutput_pth = /srv\n', 'f')),
    'f, line 2: unknown setting "output-pth"; did you mean output-path?',
  );
  t.end();
});

void t.test('durations are in seconds', (t) => {
  const durations = ['45', '1.5', '45s', '90m', '3h', '1h30m', '7d', '1d 2h', ''];
  t.strictSame(durations.map(parseDuration), [45, 1.5, 45, 5400, 10_800, 5400, 604_800, 93_600, undefined]);
  for (const value of ['3 hours', 'h', '-1', '1s2m']) t.equal(parseDuration(value), undefined, value);
  t.equal(settings({ timeout: '2h' }).timeout, 7200);
  t.match(
    usageError(() => settings({ timeout: 'long' })),
    /must be a duration such as 3h/,
  );
  t.end();
});

void t.test('a setting is accepted under its former key', (t) => {
  t.strictSame(parseConfig('rebuilt = tag', 'a.conf'), { 'on-duplicate-filename': 'tag' });
  t.equal(settingsFromEnv('{"rebuilt":"refuse"}')['on-duplicate-filename'], 'refuse');
  t.end();
});
