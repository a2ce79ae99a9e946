import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { checkCommandLine } from '../../src/commands/command-line.js';
import { COMMAND_LOADERS } from '../../src/commands/loaders.js';
import { commandName } from '../../src/commands/names.js';
import { skipUnlessInstalled } from '../helpers/missing.js';

const FOLDER = fileURLToPath(new URL('../../../config/systemd/', import.meta.url));
const units = readdirSync(FOLDER);

void t.test('systemd accepts the units', { skip: skipUnlessInstalled('systemd-analyze') }, async (t) => {
  // With programs that exist on this machine in place of those that the units start.
  const folder = mkdtempSync(join(tmpdir(), 'piw-units-'));
  for (const unit of units) {
    const path = join(folder, unit);
    copyFileSync(join(FOLDER, unit), path);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replaceAll(/\/usr\/local\/bin\/\S+/g, process.execPath));
  }
  const paths = units.map((unit) => join(folder, unit.replace('@.', '@the-oracle.')));
  copyFileSync(join(folder, 'piw-actor@.service'), join(folder, 'piw-actor@the-oracle.service'));
  const { stderr } = await promisify(execFile)('systemd-analyze', ['verify', ...paths]);
  t.equal(
    stderr
      .split('\n')
      .filter((line) => line.includes(folder))
      .join('\n'),
    '',
  );
});

void t.test('the units run commands and options that exist', async (t) => {
  const commands = units.flatMap((unit) =>
    [...readFileSync(join(FOLDER, unit), 'utf8').matchAll(/^ExecStart=.*\/usr\/local\/bin\/piw (.*)$/gm)].map(
      // find puts names of files in the place of {} +.
      ([, line = '']) => line.replace('{} +', 'piwheels.log').split(' '),
    ),
  );
  t.equal(commands.length, 4);
  for (const words of commands) {
    const name = commandName(...words);
    t.ok(name, words.join(' '));
    if (name === undefined) continue;
    const { default: Command } = await COMMAND_LOADERS[name]();
    const { args, strict, baseFlags, flags } = Command;
    t.doesNotThrow(() => {
      checkCommandLine(words.slice(name.split(':').length), {
        name,
        args,
        options: { ...baseFlags, ...flags },
        strict,
      });
    }, words.join(' '));
  }
});
