import { COMMAND_LOADERS } from './loaders.js';
import { COMMAND_NAMES, commandName } from './names.js';

/** The command to load; all commands for the overall help and for an unknown command. */
const name = commandName(...process.argv.slice(2));
const names = name === undefined ? COMMAND_NAMES : [name];

/** Only the commands that this process needs: loading all of them takes longer than running most of them. */
export const commands = Object.fromEntries(
  await Promise.all(names.map(async (each) => [each, (await COMMAND_LOADERS[each]()).default] as const)),
);
