import { Errors, type Hook } from '@oclif/core';
import { unknownCommand } from './unknown-command.js';

/** Reports an unknown command in the same form as every other error. */
const unknown: Hook.CommandNotFound = ({ id, argv = [] }) => {
  process.stderr.write(`piw: ${unknownCommand([...id.split(':'), ...argv])}\n`);
  return Promise.reject(new Errors.ExitError(2));
};

export default unknown;
