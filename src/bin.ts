#!/usr/bin/env node
import { endWithParent } from './actor/parent.js';

// Before anything else is loaded, because a farm's master and slaves are children that have to end with it.
endWithParent();
const { execute } = await import('@oclif/core');

const [first, ...rest] = process.argv.slice(2);
// `piw help queue` is the same as `piw queue --help`.
const args = first === 'help' ? [...rest, '--help'] : process.argv.slice(2);
await execute({ dir: import.meta.url, args });
// Exits explicitly, because a connection that the other side doesn't close would keep the process alive.
process.exit();
