import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { actorSpecOf } from '../../actors/cast.js';
import { systemClock, type Clock } from '../../src/concurrency/clock.js';
import { runActor } from '../../src/actor/run.js';
import type { RawSettings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { loadSettings } from '../../src/settings/load.js';
import { createLog } from '../../src/log.js';
import { commandName } from '../../src/commands/names.js';
import { natsAddress, uniquePrefix } from './bus.js';
import { runHere, type CommandResult } from './command-here.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

/** Runs `piw` without a terminal, until it exits. */
export type PiwRunner = (...args: readonly string[]) => Promise<CommandResult>;

/** Commands that run for long, read stdin or install signal handlers, and so need a process of their own. */
const OWN_PROCESS = ['actor', 'farm', 'initdb', 'logger', 'master', 'slave', 'web'];

/**
 * Returns a runner of `piw` with a configuration file of these settings. Most commands run in the test's process:
 * starting Node and loading a command takes ten times as long as running it.
 */
export function piwRunner(settings: RawSettings, { ownProcess = false } = {}): PiwRunner {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-command-')), 'piwheels.conf');
  writeFileSync(file, formatConfig(settings));
  return (...args) => {
    const allArgs = [...args, '-c', file];
    const name = commandName(...args);
    const needsProcess =
      ownProcess || name === undefined || OWN_PROCESS.includes(name) || args.includes('--help');
    return needsProcess ? runPiw(allArgs) : runHere(name, allArgs.slice(name.split(':').length));
  };
}

/** Runs `piw` without a terminal, in a process of its own, until it exits. */
export function runPiw(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [BIN, ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : (child.exitCode ?? -1), out, err });
    });
    child.stdin?.end();
  });
}

/** Writes a program that runs `piw` with these settings, for other programs; returns its path. */
export function writePiwScript(settings: RawSettings): string {
  const folder = mkdtempSync(join(tmpdir(), 'piw-program-'));
  const [config, program] = [join(folder, 'piwheels.conf'), join(folder, 'piw')];
  writeFileSync(config, formatConfig(settings));
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@" -c '${config}'\n`, {
    mode: 0o755,
  });
  return program;
}

interface RunTasksOptions {
  /** The tasks append the lines of their logs to it. */
  readonly logLines?: string[];
  readonly clock?: Clock;
  /** The prefix, by default a unique one. */
  readonly prefix?: string;
  /** The address of NATS, by default that of the tests' nats-server. */
  readonly nats?: string;
}

/**
 * Runs real tasks with these settings; they end with the test. Returns the settings with the tasks' NATS and prefix.
 */
export function runTasks(
  t: Test,
  tasks: readonly string[],
  settings: RawSettings,
  options: RunTasksOptions = {},
): TaskSettings {
  const taskSettings = {
    ...settings,
    nats: options.nats ?? natsAddress(),
    prefix: options.prefix ?? uniquePrefix(),
  };
  for (const task of tasks) runTask(t, task, taskSettings, options);
  return taskSettings;
}

type TaskSettings = RawSettings & { readonly nats: string; readonly prefix: string };

/** Runs one more task with these settings. It ends with the test, or when it is stopped. */
export function runTask(
  t: Test,
  task: string,
  settings: TaskSettings,
  { logLines, clock = systemClock }: RunTasksOptions = {},
): { readonly stop: () => Promise<void> } {
  const controller = new AbortController();
  const running = runActor(actorSpecOf(task), loadSettings(settings, '/dev/null'), {
    bus: { address: settings.nats, name: task, prefix: settings.prefix },
    log: createLog(task, 'info', (line) => logLines?.push(line)),
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

/** Returns a runner of `piw` for a farm that has only these tasks. */
export function piwRunnerWithTasks(
  t: Test,
  tasks: readonly string[],
  settings: RawSettings,
  logLines: string[] = [],
): { readonly piw: PiwRunner; readonly prefix: string } {
  const taskSettings = runTasks(t, tasks, settings, { logLines });
  return { piw: piwRunner(taskSettings), prefix: taskSettings.prefix };
}
