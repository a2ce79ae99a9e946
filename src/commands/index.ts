import { COMMANDS, commandName } from './table.js';

/** The command to load; all commands for the overall help and for an unknown command. */
const name = commandName(...process.argv.slice(2));
const names = name === undefined ? Object.keys(COMMANDS) : [name];

/** Only the commands that this process needs: loading all of them takes longer than running most of them. */
export const commands = Object.fromEntries(
  await Promise.all(names.map(async (each) => [each, (await COMMANDS[each]?.())?.default] as const)),
);
