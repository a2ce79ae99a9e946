import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Config } from '@oclif/core';
import t from 'tap';
import { DEFAULT_BUILD_LIMITS } from '../../src/builder/limits.js';
import { renderHelpTexts } from '../../src/commands/help-texts.js';
import { EXIT_CODE_MEANINGS, ERRORS } from '../../src/errors.js';
import { piwRunner } from '../helpers/command.js';

t.setTimeout(120_000);
const piw = piwRunner({});
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const texts = renderHelpTexts(await Config.load({ root: ROOT }));

void t.test('help is available for every command, before or after its name', async (t) => {
  const [mainHelp, queueHelp, helpQueue, topic, unknown] = await Promise.all([
    piw('--help'),
    piw('queue', '--help'),
    piw('help', 'queue'),
    piw('abi'),
    piw('help', 'nonsense'),
  ]);
  for (const name of ['master', 'slave', 'queue', 'farm', 'abi', 'initdb'])
    t.match(mainHelp.out, ` ${name} `);
  t.match(queueHelp.out, /EXAMPLES\s+\$ piw queue\n/);
  t.equal(helpQueue.out, queueHelp.out);
  for (const name of ['add', 'list', 'remove', 'skip', 'unskip']) t.match(topic.out, `abi ${name} `);
  t.same([mainHelp.code, queueHelp.code, helpQueue.code], [0, 0, 0]);
  t.same(unknown, { code: 2, out: '', err: 'piw: unknown command: nonsense. See piw --help.\n' });
});

void t.test('the help of piw slave states the limits of a build with their units and defaults', async (t) => {
  const help = (await texts)['slave']?.replace(/\s+/g, ' ') ?? '';
  const MB = 1024 ** 2;
  const { log, output, memory, addressSpace, processes, openFiles, fileSize, diskFree, niceness } =
    DEFAULT_BUILD_LIMITS;
  for (const [option, value] of [
    ['log-limit=MB', log / MB],
    ['output-limit=MB', output / MB],
    ['build-memory=MB', memory / MB],
    ['build-address-space=MB', addressSpace / MB],
    ['build-processes=NUMBER', processes],
    ['build-open-files=NUMBER', openFiles],
    ['build-file-size=MB', fileSize / MB],
    ['build-disk-free=MB', diskFree / MB],
    ['build-niceness=0..19', niceness],
  ] as const)
    t.match(help, new RegExp(`--${option} [^(]*\\(default: ${value}[,;)]`), option);
  t.match(help, '--build-env=NAME=VALUE...');
});

void t.test(
  'every help fits 80 columns, and has a summary, options, and examples without passwords',
  async (t) => {
    for (const [name, text] of Object.entries(await texts)) {
      t.same(
        text.split('\n').filter((line) => line.length > 80),
        [],
        `piw ${name}`,
      );
      t.notMatch(text, /:\/\/[^/@\s]*:[^/@\s]+@/, `piw ${name}: a password on a command line`);
      if (/^USAGE\n {2}piw (?:\w+ )?COMMAND/m.test(text) || name === 'exit-codes') continue;
      t.match(text, /^[A-Z].*\.\n\nUSAGE\n {2}piw .*OPTIONS/s, name);
      t.match(text, /\nCOMMON OPTIONS\n.*\nEXAMPLES\n {2}(?:\$|CustomLog) /s, name);
    }
    t.end();
  },
);

void t.test('every exit code of an error is explained in one place', async (t) => {
  const explained = (await texts)['exit-codes'] ?? '';
  for (const [code, meaning] of Object.entries(EXIT_CODE_MEANINGS))
    t.match(explained, new RegExp(`^ +${code} +${meaning}$`, 'm'));
  const used = Object.values(ERRORS).map(({ exit }) => String(exit));
  t.same(
    [...new Set(used)].filter((code) => !(code in EXIT_CODE_MEANINGS)),
    [],
  );
  t.end();
});

void t.test("the program answers to the names of piwheels' programs", (t) => {
  const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    bin: Readonly<Record<string, string>>;
  };
  const names = ['add', 'import', 'initdb', 'logger', 'master', 'monitor', 'rebuild', 'remove', 'slave'];
  t.same(Object.keys(bin), ['piw', ...names.map((name) => `piw-${name}`)]);
  const link = join(mkdtempSync(join(tmpdir(), 'piw-names-')), 'piw-monitor');
  symlinkSync(join(ROOT, String(bin['piw-monitor'])), link);
  t.match(execFileSync(process.execPath, [link, '--help'], { encoding: 'utf8' }), /USAGE\n {2}piw monitor /);
  t.end();
});
