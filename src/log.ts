import { closeSync, openSync, writeSync } from 'node:fs';
import { PiwError, errorMessage } from './errors.js';

/**
 * Log lines, one for each event: time, level, component, text. They go to standard error, for systemd or a pipe, or to
 * `--log-file`. A line never contains a secret: the caller redacts addresses.
 */
export const LOG_LEVELS = ['debug', 'info', 'warning', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface Log {
  debug(text: string): void;
  info(text: string): void;
  warning(text: string): void;
  error(text: string): void;
}

export type LogSink = (line: string) => void;

const toStderr: LogSink = (line) => {
  process.stderr.write(`${line}\n`);
};

/** Creates a log for `component`, which writes lines of `level` or above. */
export function createLog(component: string, level: LogLevel = 'info', sink: LogSink = toStderr): Log {
  const threshold = LOG_LEVELS.indexOf(level);
  const logAt = (name: LogLevel) => (text: string) => {
    if (LOG_LEVELS.indexOf(name) < threshold) return;
    // Text from outside must not begin another line or move the cursor.
    // eslint-disable-next-line no-control-regex
    const plain = text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
    sink(`${new Date().toISOString()} ${name.toUpperCase().padEnd(7)} ${component}: ${plain}`);
  };
  return { debug: logAt('debug'), info: logAt('info'), warning: logAt('warning'), error: logAt('error') };
}

/** Returns a sink that appends to this file; without one undefined, for standard error. Throws PIW_NOT_WRITABLE. */
export function fileSink(file: string | undefined): LogSink | undefined {
  if (file === undefined) return undefined;
  try {
    // Opened now, so that an error shows at once and not at the first line.
    const handle = openSync(file, 'a', 0o640);
    process.once('exit', () => {
      closeSync(handle);
    });
    return (line) => {
      writeSync(handle, `${line}\n`);
    };
  } catch (error) {
    throw new PiwError('PIW_NOT_WRITABLE', `the log file ${file} can't be written: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
