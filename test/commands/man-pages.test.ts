/** The manual pages that npm installs with the program: see `man` in package.json. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { commands } from '../../src/commands/index.js';
import { allOptions } from '../../src/commands/help-text.js';
import { EXIT_CODE_MEANINGS } from '../../src/errors.js';
import { ROOT } from '../../src/root.js';
import { skipUnlessInstalled } from '../helpers/missing.js';

const FOLDER = join(ROOT, 'dist/man');
const FILES = readdirSync(FOLDER).sort();
const read = (file: string): string => readFileSync(join(FOLDER, file), 'utf8');

void t.test('there is a manual page of piw and of every command, and npm installs them', (t) => {
  const names = ['piw', ...Object.keys(commands).map((id) => `piw-${id.replaceAll(':', '-')}`)];
  t.same(FILES, names.map((name) => `${name}.1`).sort());
  const { man, files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    man: readonly string[];
    files: readonly string[];
  };
  t.same(
    [...man].sort(),
    FILES.map((file) => `dist/man/${file}`),
  );
  t.ok(files.includes('dist/man'));
  t.end();
});

void t.test('no line of a page is a request to roff but those that the pages are made of', (t) => {
  for (const file of FILES)
    t.same(
      read(file)
        .split('\n')
        .filter((line) => /^['.]/.test(line) && !/^\.(?:TH ".*|SH [A-Z ]+|TP|PP|nf|fi)$/.test(line)),
      [],
      file,
    );
  t.end();
});

void t.test(
  'man shows every option, the examples and the exit codes',
  { skip: skipUnlessInstalled('groff') },
  (t) => {
    const { stderr } = spawnSync('groff', ['-man', '-Kutf8', '-ww', '-z', ...FILES], {
      cwd: FOLDER,
      encoding: 'utf8',
    });
    t.equal(stderr, '', 'no page has a fault that groff knows');
    const show = (file: string) =>
      execFileSync('groff', ['-man', '-Kutf8', '-Tascii', '-P-cbou', file], {
        cwd: FOLDER,
        encoding: 'utf8',
      });
    const slave = show('piw-slave.1');
    const command = commands['slave'];
    if (!command) throw new Error('there is no piw slave');
    for (const [name] of allOptions(command)) t.match(slave, new RegExp(`--(?:\\[no-\\])?${name}\\b`), name);
    t.match(slave, /EXAMPLES\n +\$ piw slave /);
    const overview = show('piw.1').replace(/\s+/g, ' ');
    for (const [code, meaning] of Object.entries(EXIT_CODE_MEANINGS))
      t.match(overview, ` ${code} ${meaning} `);
    t.end();
  },
);
