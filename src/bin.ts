#!/usr/bin/env node
import { execute } from '@oclif/core';

const [first, ...rest] = process.argv.slice(2);
// `piw help queue` is what `piw queue --help` is.
const args = first === 'help' ? [...rest, '--help'] : process.argv.slice(2);
await execute({ dir: import.meta.url, args });
