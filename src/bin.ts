#!/usr/bin/env node
import { basename } from 'node:path';
import { endWithParent } from './actor/parent.js';

// Before anything else is loaded, because a farm's master and slaves are children that have to end with it.
endWithParent();

// It is also installed under the names of piwheels' programs: piw-master is piw master.
const [, command] = /^piw-([a-z]+)$/.exec(basename(process.argv[1] ?? '')) ?? [];
if (command !== undefined) process.argv.splice(2, 0, command);

const { answerWithoutOclif } = await import('./commands/entry.js');
const words = process.argv.slice(2);
const exitCode = answerWithoutOclif(words);
if (exitCode === undefined) {
  const { execute } = await import('@oclif/core');
  // `piw help queue` is the same as `piw queue --help`.
  await execute({ dir: import.meta.url, args: words[0] === 'help' ? [...words.slice(1), '--help'] : words });
}
// Exits explicitly, because a connection that the other side doesn't close would keep the process alive.
// Without an argument, which would replace the exit code that a command has set.
if (exitCode !== undefined) process.exitCode = exitCode;
process.exit();
