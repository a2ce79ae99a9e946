/** The options that all commands have. */
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { commands } from '../../src/commands/index.js';
import { PiwCommand } from '../../src/commands/base.js';
import { VERSION } from '../../src/version.js';
import { runPiw } from '../helpers/command.js';

t.setTimeout(60_000);

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Logs one line of each level. */
class LoggingCommand extends PiwCommand {
  static override id = 'logging';

  async run(): Promise<void> {
    const { flags } = await this.parse(LoggingCommand);
    const log = this.createLog('test', flags, this.settings(flags));
    log.debug('a detail');
    log.info('an event');
    log.warning('a warning');
  }
}

void t.test('-q logs only warnings, -v also debug messages, and -l appends them to a file', async (t) => {
  const log = join(mkdtempSync(join(tmpdir(), 'piw-options-')), 'piw.log');
  const run = async (...args: readonly string[]): Promise<readonly string[]> => {
    const before = existsSync(log) ? readFileSync(log, 'utf8').length : 0;
    await LoggingCommand.run(['-c', '/dev/null', '-l', log, ...args], ROOT);
    const added = readFileSync(log, 'utf8').slice(before);
    return [...added.matchAll(/a detail|an event|a warning/g)].map(([event]) => event);
  };
  t.same(await run(), ['an event', 'a warning']);
  t.same(await run('-q'), ['a warning']);
  t.same(await run('--quiet'), ['a warning']);
  t.same(await run('-v'), ['a detail', 'an event', 'a warning']);
  t.same(await run('--verbose'), ['a detail', 'an event', 'a warning']);
  const byCommand = Object.entries(commands).map(([name, command]) => [
    name,
    Object.keys(PiwCommand.baseFlags).filter((flag) => !(flag in { ...command.baseFlags, ...command.flags })),
  ]);
  t.same(
    byCommand.filter(([, missing]) => missing?.length !== 0),
    [],
    'every command has them',
  );
});

void t.test('--version prints the version, also after the name of a command', async (t) => {
  const versions = await Promise.all([runPiw(['--version']), runPiw(['master', '--version'])]);
  for (const { code, out, err } of versions) {
    t.same([code, err], [0, '']);
    t.match(out, new RegExp(`^piw/${VERSION} `));
  }
});
