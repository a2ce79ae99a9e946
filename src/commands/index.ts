import type { Command } from '@oclif/core';

/** Every command of piw, by its name. */
const COMMANDS: Readonly<Record<string, () => Promise<{ default: Command.Class }>>> = {
  'abi:add': () => import('./abi/add.js'),
  'abi:list': () => import('./abi/list.js'),
  'abi:remove': () => import('./abi/remove.js'),
  'abi:skip': () => import('./abi/skip.js'),
  'abi:unskip': () => import('./abi/unskip.js'),
  actor: () => import('./actor.js'),
  add: () => import('./add.js'),
  check: () => import('./check.js'),
  farm: () => import('./farm.js'),
  feed: () => import('./feed.js'),
  import: () => import('./import.js'),
  initdb: () => import('./initdb.js'),
  logger: () => import('./logger.js'),
  master: () => import('./master.js'),
  monitor: () => import('./monitor.js'),
  queue: () => import('./queue.js'),
  rebuild: () => import('./rebuild.js'),
  remove: () => import('./remove.js'),
  retry: () => import('./retry.js'),
  slave: () => import('./slave.js'),
  'slaves:add': () => import('./slaves/add.js'),
  'slaves:kill': () => import('./slaves/kill.js'),
  'slaves:list': () => import('./slaves/list.js'),
  'slaves:remove': () => import('./slaves/remove.js'),
  'slaves:skip': () => import('./slaves/skip.js'),
  'slaves:sleep': () => import('./slaves/sleep.js'),
  'slaves:wake': () => import('./slaves/wake.js'),
  web: () => import('./web.js'),
};

/** The one that is asked for, or all of them: for the overall help, and for a name that there isn't. */
function wanted(first = '', second = ''): readonly string[] {
  const name = [`${first}:${second}`, first].find((one) => Object.hasOwn(COMMANDS, one));
  return name === undefined ? Object.keys(COMMANDS) : [name];
}

/** To load all of them takes longer than most of them take. */
export const commands = Object.fromEntries(
  await Promise.all(
    wanted(...process.argv.slice(2)).map(
      async (name) => [name, (await COMMANDS[name]?.())?.default] as const,
    ),
  ),
);
