import { closeSync, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { PiwError, errorMessage } from './errors.js';

/**
 * The log: one line for each event, with the fields by which an operator filters. As text, for people:
 *
 *   2026-11-30T16:07:32.512Z INFO    slave-driver: slave connected slave=12 label="the attic" abi=cp311
 *
 * and as JSON, for programs:
 *
 *   {"time":"2026-11-30T16:07:32.512Z","level":"info","name":"slave-driver","event":"slave connected","slave":12,…}
 *
 * Lines go to standard error or to `--log-file`. systemd's journal, which has times itself, gets none, but each line's
 * priority at its beginning: <6> for this one. A line never contains a secret: the caller redacts addresses.
 */
/** `trace` is a line for each message that a task handles: `--debug TASK`. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The value of a field; one that is undefined is left out. */
export type LogValue = string | number | boolean | readonly string[] | undefined;

/** What an event is about, for example its slave, package, version and lease. Some keys are those of every line. */
export type LogFields = Readonly<Record<string, LogValue>> &
  Readonly<Partial<Record<'time' | 'level' | 'name' | 'event' | 'error', never>>>;

/** Writes an event, its fields, and the error that caused it: any thrown value. */
export type LogMethod = (event: string, fields?: LogFields, error?: unknown) => void;

export interface Log extends Readonly<Record<LogLevel, LogMethod>> {
  /** Returns a log that adds these fields to each of its lines. */
  with(bindings: LogFields): Log;
}

export type LogSink = (line: string) => void;

interface LogRecord {
  readonly time: string;
  readonly level: LogLevel;
  readonly name: string;
  readonly event: string;
  readonly fields: LogFields;
  readonly error: unknown;
}

/** The priorities of syslog, which the journal takes from the beginning of a line. */
const PRIORITIES: Readonly<Record<LogLevel, number>> = { trace: 7, debug: 7, info: 6, warning: 4, error: 3 };

/** Whether standard error is the journal: systemd names its device and inode. */
function stderrIsJournal(): boolean {
  const stream = process.env['JOURNAL_STREAM'];
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(process.stderr.fd);
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

const toStderr: LogSink = (line) => {
  process.stderr.write(`${line}\n`);
};

/** Creates the log of the task or command `name`, which writes lines of `level` or above. */
export function createLog(
  name: string,
  level: LogLevel = 'info',
  sink: LogSink = toStderr,
  format: LogFormat = 'text',
): Log {
  const threshold = LOG_LEVELS.indexOf(level);
  const isJournal = sink === toStderr && stderrIsJournal();
  const formatRecord = (record: LogRecord): string => {
    const line = format === 'json' ? formatJson(record) : formatText(record, { time: !isJournal });
    return isJournal ? `<${PRIORITIES[record.level]}>${line}` : line;
  };
  const bind = (bindings: LogFields): Log => {
    const logAt =
      (level: LogLevel): LogMethod =>
      (event, fields, error) => {
        if (LOG_LEVELS.indexOf(level) < threshold) return;
        const time = new Date().toISOString();
        sink(formatRecord({ time, level, name, event, fields: { ...bindings, ...fields }, error }));
      };
    return {
      trace: logAt('trace'),
      debug: logAt('debug'),
      info: logAt('info'),
      warning: logAt('warning'),
      error: logAt('error'),
      with: (fields) => bind({ ...bindings, ...fields }),
    };
  };
  return bind({});
}

/** Returns the line in logfmt, after the time (if wanted), the level and the name. Only an error comes with advice. */
function formatText(record: LogRecord, wanted: { readonly time: boolean }): string {
  const { time, level, name, event, fields, error } = record;
  const { code, message, advice } = error === undefined ? {} : describeError(error);
  const pairs = Object.entries({
    ...fields,
    code,
    error: message,
    advice: level === 'error' ? advice : undefined,
  }).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${formatValue(value)}`]));
  const head = `${wanted.time ? `${time} ` : ''}${level.toUpperCase().padEnd(7)} ${name}: ${withoutControls(event)}`;
  return [head, ...pairs].join(' ');
}

/** Returns a value as logfmt has it: in quotes unless it is one plain word, and the items of a list with commas. */
function formatValue(value: Exclude<LogValue, undefined>): string {
  const text = withoutControls(typeof value === 'object' ? value.join(', ') : String(value));
  return text === '' || /[\s"=]/.test(text) ? `"${text.replace(/["\\]/g, '\\$&')}"` : text;
}

/** Text from outside must not begin another line or move the cursor. */
const withoutControls = (text: string): string => text.replace(/\p{Cc}+/gu, ' ');

function formatJson({ time, level, name, event, fields, error }: LogRecord): string {
  const cause = error === undefined ? {} : { error: describeError(error) };
  // JSON.stringify() leaves some control characters as they are.
  return JSON.stringify({ time, level, name, event, ...fields, ...cause }).replace(
    /\p{Cc}/gu,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function describeError(error: unknown): {
  readonly code?: string | undefined;
  readonly message: string;
  readonly advice?: string;
} {
  if (error instanceof PiwError) return { code: error.code, message: error.message, advice: error.advice };
  // Node's errors have a code, too, such as ENOENT.
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return { code: typeof code === 'string' ? code : undefined, message: errorMessage(error) };
}

/** How often a log checks whether its file has been renamed or deleted, milliseconds. */
const FILE_CHECK_INTERVAL_MS = 1000;
/** For each log file of this process, a function that opens it again if it has been renamed or deleted. */
const reopenFunctions: (() => void)[] = [];

/** Whether this process logs to a file: then SIGHUP has it opened again. */
export const logsToFile = (): boolean => reopenFunctions.length > 0;

/**
 * Returns a sink that appends to this file; without one undefined, for standard error. When the file has been renamed or
 * deleted, as by logrotate, it is opened again: at once on SIGHUP, otherwise within a second. Throws PIW_NOT_WRITABLE.
 */
export function fileSink(file: string | null): LogSink | undefined {
  if (file === null) return undefined;
  const open = () => openSync(file, 'a', 0o640);
  let handle: number;
  try {
    // Opened now, so that an error shows at once and not at the first line.
    handle = open();
  } catch (error) {
    throw new PiwError('PIW_NOT_WRITABLE', `the log file ${file} can't be written: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  let checkedAt = performance.now();
  const reopenIfMoved = (): void => {
    checkedAt = performance.now();
    try {
      const [current, opened] = [statSync(file, { throwIfNoEntry: false }), fstatSync(handle)];
      if (current?.ino === opened.ino && current.dev === opened.dev) return;
      const next = open();
      closeSync(handle);
      handle = next;
    } catch {
      // The old file is better than none; it is tried again.
    }
  };
  if (!logsToFile())
    process.on('SIGHUP', () => {
      for (const reopen of reopenFunctions) reopen();
    });
  reopenFunctions.push(reopenIfMoved);
  process.once('exit', () => {
    closeSync(handle);
  });
  return (line) => {
    if (performance.now() - checkedAt > FILE_CHECK_INTERVAL_MS) reopenIfMoved();
    writeSync(handle, `${line}\n`);
  };
}
