import { execFile, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { renderCompletionScripts } from '../../src/commands/completion/render.js';

const run = promisify(execFile);
const isInstalled = (shell: string): boolean => spawnSync(shell, ['-c', 'true']).status === 0;

void t.test('bash completes commands, options and values', async (t) => {
  const scripts = await renderCompletionScripts();
  const script = join(t.testdir({}), 'piw.bash');
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['piw qu', ['queue', 'quit']],
    ['piw abi ', ['add', 'list', 'remove', 'skip', 'unskip']],
    ['piw slaves wa', ['wake']],
    ['piw web --po', ['--port']],
    ['piw slaves add --mast', ['--master']],
    ['piw slave --sandbox ', ['auto', 'required', 'none']],
    ['piw slave --sandbox = re', ['required']],
    ['piw web --port ', []],
    ['piw rebuild ho', ['home']],
    ['piw rebuild --nats example ho', ['home']],
    ['piw rebuild index ho', []],
    ['piw pause cloud', ['cloud-gazer']],
    ['piw resume the-o', []],
    ['piw actor the-o', ['the-oracle']],
    ['piw completion ', ['bash', 'fish', 'zsh']],
    ['piw-rebuild ho', ['home']],
    ['/usr/bin/piw-slave --sandbox ', ['auto', 'required', 'none']],
    ['piw-master --dev', ['--dev-mode']],
  ];
  const calls = cases.map(
    ([line]) =>
      `COMP_WORDS=(${line}${line.endsWith(' ') ? " ''" : ''}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _piw; echo "\${COMPREPLY[*]}"`,
  );
  writeFileSync(script, `${scripts['bash'] ?? ''}\n${calls.join('\n')}\n`);
  const { stdout, stderr } = await run('bash', [script]);
  t.equal(stderr, '');
  t.same(
    stdout.trimEnd().split('\n').concat('').slice(0, cases.length),
    cases.map(([, words]) => words.join(' ')),
  );
});

void t.test('the scripts for fish and zsh are valid, and name every option of a command', async (t) => {
  const { fish = '', zsh = '' } = await renderCompletionScripts();
  t.match(fish, /-l output-path -s o -r -F -d 'folder to serve/);
  t.match(fish, "complete -c piw-master -w 'piw master'");
  t.match(zsh, "'2:argument:(bash fish zsh)'");
  t.match(zsh, "{-o,--output-path=}'[folder to serve (default: /var/www/piwheels)]:PATH:_files'");
  for (const [shell, script] of Object.entries({ fish, zsh })) {
    if (!isInstalled(shell)) {
      t.comment(`${shell} is not installed: its script is not checked`);
      continue;
    }
    const file = join(t.testdir({}), 'piw');
    writeFileSync(file, script);
    t.same(spawnSync(shell, ['-n', file], { encoding: 'utf8' }).stderr, '', shell);
  }
});
