import { closeSync, openSync, writeSync } from 'node:fs';
import { PiwError, reason } from './errors.js';

/**
 * Log lines, one an event: time, level, who, what. They go to standard error, where systemd, a pipe
 * or `--log-file` take them. Nothing secret is ever a part of a line: addresses are redacted by
 * whoever has them.
 */
export const LEVELS = ['debug', 'info', 'warning', 'error'] as const;
export type Level = (typeof LEVELS)[number];

export interface Log {
  debug(text: string): void;
  info(text: string): void;
  warning(text: string): void;
  error(text: string): void;
}

export type Sink = (line: string) => void;

const toStderr: Sink = (line) => {
  process.stderr.write(`${line}\n`);
};

/** A log for `who`, which writes what is of `level` or above. */
export function createLog(who: string, level: Level = 'info', sink: Sink = toStderr): Log {
  const from = LEVELS.indexOf(level);
  const at = (name: Level) => (text: string) => {
    if (LEVELS.indexOf(name) < from) return;
    // A log line is one line: whatever came from outside can't begin another, or move a cursor.
    // eslint-disable-next-line no-control-regex
    const plain = text.replace(/[\u0000-\u001f\u007f]+/g, ' ');
    sink(`${new Date().toISOString()} ${name.toUpperCase().padEnd(7)} ${who}: ${plain}`);
  };
  return { debug: at('debug'), info: at('info'), warning: at('warning'), error: at('error') };
}

/** Writes to the end of this file; to standard error if none is named. Raises PIW_NOT_WRITABLE. */
export function fileSink(file: string | undefined): Sink | undefined {
  if (file === undefined) return undefined;
  try {
    // Found out now and not at the first line.
    const handle = openSync(file, 'a', 0o640);
    process.once('exit', () => {
      closeSync(handle);
    });
    return (line) => {
      writeSync(handle, `${line}\n`);
    };
  } catch (error) {
    throw new PiwError('PIW_NOT_WRITABLE', `the log file ${file} can't be written: ${reason(error)}`, {
      cause: error,
    });
  }
}
