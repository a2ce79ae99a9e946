/** The names of all commands of piw, as oclif has them: `abi:add` is typed as `abi add`. */
export const COMMAND_NAMES = [
  'abi:add',
  'abi:list',
  'abi:remove',
  'abi:skip',
  'abi:unskip',
  'actor',
  'add',
  'backup',
  'check',
  'completion',
  'config:show',
  'doctor',
  'farm',
  'feed',
  'import',
  'initdb',
  'logger',
  'logs',
  'master',
  'monitor',
  'pause',
  'queue',
  'quit',
  'rebuild',
  'remove',
  'restore',
  'resume',
  'retry',
  'slave',
  'slaves:add',
  'slaves:kill',
  'slaves:list',
  'slaves:remove',
  'slaves:skip',
  'slaves:sleep',
  'slaves:wake',
  'status',
  'web',
] as const;

export type CommandName = (typeof COMMAND_NAMES)[number];

/** Returns the name of the command that a command line with these first two words runs; undefined if no command has them. */
export function commandName(first = '', second = ''): CommandName | undefined {
  return (
    COMMAND_NAMES.find((name) => name === `${first}:${second}`) ??
    COMMAND_NAMES.find((name) => name === first)
  );
}
