import { Errors, type Hook } from '@oclif/core';

/** Reports an unknown command in the same form as every other error. */
const unknown: Hook.CommandNotFound = ({ id }) => {
  process.stderr.write(`piw: unknown command: ${id.replaceAll(':', ' ')}. See piw --help.\n`);
  return Promise.reject(new Errors.ExitError(2));
};

export default unknown;
