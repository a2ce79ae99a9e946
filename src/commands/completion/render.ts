import { readFileSync } from 'node:fs';
import { ROOT } from '../../root.js';
import { allOptions } from '../help-text.js';
import { COMMAND_LOADERS } from '../loaders.js';
import { suggestionsOf, valueName } from '../option-definition.js';
import { SHELLS, completionScript, type CompletedCommand } from './scripts.js';

/** The words by which the help calls values that are paths. */
const PATH_WORDS = ['FILE', 'DIR', 'PATH'];

/** Returns the completion script of each shell. Loads every command. */
export async function renderCompletionScripts(): Promise<Readonly<Record<string, string>>> {
  const commands = await Promise.all(
    Object.entries(COMMAND_LOADERS).map(async ([id, load]): Promise<CompletedCommand> => {
      const { default: command } = await load();
      const options = allOptions(command).map(([name, option]) => {
        const { char, description = '', type, options: choices = [] } = option;
        const value = { name: valueName(option), choices, isPath: PATH_WORDS.includes(valueName(option)) };
        return { name, char, meaning: description, value: type === 'boolean' ? undefined : value };
      });
      const args = Object.values(command.args).map(suggestionsOf);
      return { name: id.replace(':', ' '), summary: command.summary ?? '', options, args };
    }),
  );
  const { bin } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as { bin: object };
  const programs = Object.keys(bin).filter((name) => name !== 'piw');
  return Object.fromEntries(SHELLS.map((shell) => [shell, completionScript(shell, commands, programs)]));
}
