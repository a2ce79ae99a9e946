/** The shell blocks of the front page and of the chapters: what a reader pastes is valid, piw accepts it, and it is run. */
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { checkCommandLine } from '../../src/commands/command-line.js';
import { COMMAND_LOADERS } from '../../src/commands/loaders.js';
import { commandName } from '../../src/commands/names.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { commandLines, piwArguments, withoutPlaceholders } from './blocks.js';
import { allBlocks, reasonNotRun, rowsWithoutBlock, runnersOf } from './runners.js';

const BLOCKS = allBlocks();

t.test('each block is run, or there is a reason why it is not', (t) => {
  for (const block of BLOCKS) {
    const count = reasonNotRun(block) === null ? runnersOf(block).length : 1;
    t.equal(count, 1, `${block.page}:${block.line}: number of tests that run it (test/docs/runners.ts)`);
  }
  t.same(rowsWithoutBlock(), []);
  t.end();
});

t.test('bash parses every block', { skip: skipUnlessInstalled('bash') }, (t) => {
  t.ok(BLOCKS.length > 50, `${BLOCKS.length} blocks`);
  // One process for all of them, which names those that are not valid.
  const check = 'for script; do bash -n <<< "$script" 2> /dev/null || echo "$script"; done';
  t.equal(
    execFileSync('bash', ['-c', check, 'bash', ...BLOCKS.map(({ script }) => withoutPlaceholders(script))], {
      encoding: 'utf8',
    }),
    '',
  );
  t.end();
});

void t.test('piw accepts every command line', async (t) => {
  let count = 0;
  for (const { page, line, script } of BLOCKS)
    for (const words of commandLines(withoutPlaceholders(script))) {
      const args = piwArguments(words);
      if (args === undefined) continue;
      count += 1;
      const place = `${page}:${line}: piw ${args.join(' ')}`;
      t.notMatch(place, /:\/\/[^/@\s]*:[^/@\s]+@/, 'every user of the machine can read a command line');
      const name = commandName(...args);
      if (name === undefined) {
        t.match(args, [/^--(?:help|version)$/], place);
        continue;
      }
      const { default: Command } = await COMMAND_LOADERS[name]();
      const { args: positional, strict, baseFlags, flags } = Command;
      t.doesNotThrow(() => {
        checkCommandLine(args.slice(name.split(':').length), {
          name: name.replace(':', ' '),
          args: positional,
          options: { ...baseFlags, ...flags },
          strict,
        });
      }, place);
    }
  t.ok(count > 80, `${count} command lines`);
});
