import type { Command } from '@oclif/core';

/** Loaders of all commands of piw, by name. */
export const COMMANDS: Readonly<Record<string, () => Promise<{ default: Command.Class }>>> = {
  'abi:add': () => import('./abi/add.js'),
  'abi:list': () => import('./abi/list.js'),
  'abi:remove': () => import('./abi/remove.js'),
  'abi:skip': () => import('./abi/skip.js'),
  'abi:unskip': () => import('./abi/unskip.js'),
  actor: () => import('./actor.js'),
  add: () => import('./add.js'),
  check: () => import('./check.js'),
  'config:show': () => import('./config/show.js'),
  farm: () => import('./farm.js'),
  feed: () => import('./feed.js'),
  import: () => import('./import.js'),
  initdb: () => import('./initdb.js'),
  logger: () => import('./logger.js'),
  master: () => import('./master.js'),
  monitor: () => import('./monitor.js'),
  pause: () => import('./pause.js'),
  queue: () => import('./queue.js'),
  quit: () => import('./quit.js'),
  rebuild: () => import('./rebuild.js'),
  remove: () => import('./remove.js'),
  resume: () => import('./resume.js'),
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

/** Returns the name of the command that a command line with these first two words runs; undefined if there is none. */
export function commandName(first = '', second = ''): string | undefined {
  return [`${first}:${second}`, first].find((candidate) => Object.hasOwn(COMMANDS, candidate));
}
