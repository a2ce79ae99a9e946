import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { partOf } from '../../actors/cast.js';
import { systemClock, type Clock } from '../../src/actor/clock.js';
import { runActor } from '../../src/actor/run.js';
import { formatConfig, loadSettings, type Given } from '../../src/config.js';
import { createLog } from '../../src/log.js';
import { natsAddress, ownPrefix } from './bus.js';

const BIN = fileURLToPath(new URL('../../src/bin.js', import.meta.url));

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `piw`, without a terminal, to its end. */
export type Piw = (...args: readonly string[]) => Promise<Ran>;

/** `piw` with a configuration file of these settings. */
export function piwWith(given: Given): Piw {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-command-')), 'piwheels.conf');
  writeFileSync(file, formatConfig(given));
  return (...args) =>
    new Promise((resolve) => {
      const child = execFile(process.execPath, [BIN, ...args, '-c', file], (error, out, err) => {
        resolve({ code: error === null ? 0 : (child.exitCode ?? -1), out, err });
      });
      child.stdin?.end();
    });
}

/** A program that is `piw` with these settings, for others to run. */
export function programWith(given: Given): string {
  const folder = mkdtempSync(join(tmpdir(), 'piw-program-'));
  const [config, program] = [join(folder, 'piwheels.conf'), join(folder, 'piw')];
  writeFileSync(config, formatConfig(given));
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@" -c '${config}'\n`, {
    mode: 0o755,
  });
  return program;
}

export interface TasksOptions {
  /** Gets the lines of their log. */
  readonly said?: string[];
  readonly clock?: Clock;
  /** In the place of one of their own. */
  readonly prefix?: string;
}

/** Real tasks with these settings; they end with the test. */
export function runTasks(t: Test, tasks: readonly string[], given: Given, options: TasksOptions = {}): Own {
  const own = { ...given, nats: natsAddress(), prefix: options.prefix ?? ownPrefix() };
  for (const task of tasks) runTask(t, task, own, options);
  return own;
}

type Own = Given & { readonly nats: string; readonly prefix: string };

/** One more of them. It ends with the test, or when it is stopped. */
export function runTask(
  t: Test,
  task: string,
  own: Own,
  { said, clock = systemClock }: TasksOptions = {},
): { readonly stop: () => Promise<void> } {
  const controller = new AbortController();
  const running = runActor(partOf(task), loadSettings(own, '/dev/null'), {
    bus: { address: own.nats, name: task, prefix: own.prefix },
    log: createLog(task, 'info', (line) => said?.push(line)),
    signal: controller.signal,
    clock,
  });
  const stop = () => {
    controller.abort();
    return running;
  };
  t.teardown(stop);
  return { stop };
}

/** `piw` for a farm that has only these tasks. */
export function piwWithTasks(
  t: Test,
  tasks: readonly string[],
  given: Given,
  said: string[] = [],
): { readonly piw: Piw; readonly prefix: string } {
  const own = runTasks(t, tasks, given, { said });
  return { piw: piwWith(own), prefix: own.prefix };
}
