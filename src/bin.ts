#!/usr/bin/env node
import { endWithParent } from './actor/parent.js';

// Nothing is loaded before the end of a parent is noticed: a farm's master and slaves are such children.
endWithParent();
const { execute } = await import('@oclif/core');

const [first, ...rest] = process.argv.slice(2);
// `piw help queue` is what `piw queue --help` is.
const args = first === 'help' ? [...rest, '--help'] : process.argv.slice(2);
await execute({ dir: import.meta.url, args });
// Explicitly: a connection that the other side doesn't close would keep the process alive.
process.exit();
