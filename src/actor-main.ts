import { parseArgs } from 'node:util';
import { actorSpecOf } from '../actors/cast.js';
import { reportFailure, runProcess } from './actor/process.js';
import { SETTINGS_ENV, settingsFromEnv } from './config.js';
import { masterConnection } from './connection.js';
import { PiwError } from './errors.js';
import { createLog, fileSink } from './log.js';

/**
 * Runs one task in a process of its own, as a master starts it: `node actor-process.js TASK [-v | -q]`. Does
 * what `piw actor` does without loading the command-line library: a cast is a dozen such processes, and the master has
 * already read their settings. Returns the exit code.
 */
export async function main(): Promise<number> {
  try {
    return await run();
  } catch (error) {
    const isExpected = error instanceof PiwError;
    process.stderr.write(`piw: ${isExpected ? `${error.message}. ${error.advice}` : stackOf(error)}\n`);
    if (isExpected) await reportFailure(error);
    return isExpected ? error.exitCode : 70;
  }
}

async function run(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      verbose: { type: 'boolean', short: 'v' },
      quiet: { type: 'boolean', short: 'q' },
      trace: { type: 'boolean' },
    },
    allowPositionals: true,
  });
  const spec = actorSpecOf(positionals[0] ?? '');
  const settingsJson = process.env[SETTINGS_ENV];
  if (settingsJson === undefined)
    throw new PiwError('PIW_USAGE', `${SETTINGS_ENV} is not set: run a task without a master with piw actor`);
  const settings = settingsFromEnv(settingsJson);
  const instance = process.env['PIW_INSTANCE'];
  const level = values.trace ? 'trace' : values.verbose ? 'debug' : values.quiet ? 'warning' : 'info';
  return await runProcess(spec, settings, {
    bus: { ...masterConnection(settings), name: spec.task },
    log: createLog(spec.task, level, fileSink(settings['log-file']), settings['log-format']),
    supervised: true,
    ...(instance === undefined ? {} : { instance }),
  });
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
