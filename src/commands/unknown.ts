import type { Hook } from '@oclif/core';

/** Says that there is no such command, as every other error is said. */
const unknown: Hook.CommandNotFound = async ({ id, context }) => {
  process.stderr.write(`piw: there is no command ${id.replaceAll(':', ' ')}. See piw --help.\n`);
  await Promise.resolve();
  context.exit(2);
};

export default unknown;
