import { Errors, type Hook } from '@oclif/core';

/** Says that there is no such command, as every other error is said. */
const unknown: Hook.CommandNotFound = ({ id }) => {
  process.stderr.write(`piw: there is no command ${id.replaceAll(':', ' ')}. See piw --help.\n`);
  return Promise.reject(new Errors.ExitError(2));
};

export default unknown;
