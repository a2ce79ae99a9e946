import { readFileSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError, errorMessage } from '../errors.js';
import type { Log } from '../log.js';
import { onParentGone } from './parent.js';
import { runActor, type ActorSpec, type ActorRunOptions } from './run.js';

/** The exit code by which an actor's process tells its supervisor that it lost its lease: that is no failure. */
export const LEASE_LOST_EXIT_CODE = 75;
/** How often an actor's process tells its supervisor that its event loop turns, milliseconds. */
const HEARTBEAT_INTERVAL_MS = 1000;
/** A process without its master has this long to finish, milliseconds. */
const ORPHAN_LIMIT_MS = 7000;

/** How far an actor is: its code is loaded; it waits for the lease of another process; it works. */
export type ActorState = 'loaded' | 'standing by' | 'at work';

/** What an actor's process tells its supervisor over IPC. */
export type ChildMessage =
  | { readonly beat: true; readonly state?: ActorState }
  | { readonly failure: { readonly code: string; readonly text: string } };

/** Runs an actor as this process: signals end it, a supervisor gets a beat every second. Returns the exit code. */
export async function runProcess<S>(
  spec: ActorSpec<S>,
  settings: S,
  options: Omit<ActorRunOptions, 'signal'>,
): Promise<number> {
  const controller = new AbortController();
  const stop = () => {
    controller.abort();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  onParentGone(() => {
    options.log.warning('the master is gone: ending');
    setTimeout(() => process.exit(70), ORPHAN_LIMIT_MS);
    stop();
  });
  let heartbeatTimer: NodeJS.Timeout | undefined;
  let state: ActorState = 'loaded';
  const sendHeartbeat = (): void => {
    void tellSupervisor({ beat: true, state });
  };
  try {
    // The first beat says that the code is loaded, which takes long on a busy machine.
    await spec.load();
    heartbeatTimer = setInterval(sendHeartbeat, HEARTBEAT_INTERVAL_MS);
    sendHeartbeat();
    if (spec.nice !== undefined) await yieldTo(spec.nice, options.log);
    await runActor(spec, settings, {
      ...options,
      signal: controller.signal,
      onState: (now) => {
        state = now;
        sendHeartbeat();
      },
    });
    return 0;
  } catch (error) {
    if (error instanceof PiwError && error.code === 'PIW_NOT_LEADER') {
      options.log.warning(error.message);
      return LEASE_LOST_EXIT_CODE;
    }
    options.log.error(errorMessage(error));
    if (error instanceof PiwError) await reportFailure(error);
    else if (error instanceof Error) options.log.error(error.stack ?? '');
    return error instanceof PiwError ? error.exitCode : 70;
  } finally {
    clearInterval(heartbeatTimer);
  }
}

/** Tells the supervisor why this process is about to end. */
export async function reportFailure({ code, message }: PiwError): Promise<void> {
  await tellSupervisor({ failure: { code, text: message } });
}

/** Resolves when the message is written, or can't be. */
function tellSupervisor(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    const written = (): void => {
      resolve();
    };
    if (process.connected && process.send) process.send(message, undefined, undefined, written);
    else written();
  });
}

/** How often the niceness of a session is tried: the kernel lets one process of the machine set it every 100 ms. */
const MAX_AUTOGROUP_TRIES = 5;
const AUTOGROUP_RETRY_MS = 150;
/**
 * The most that a session yields. It weighs against all other sessions, and not only against those of the other tasks:
 * beside many of them, a session of niceness 10 would get next to nothing.
 */
const MAX_SESSION_NICENESS = 5;

/**
 * Raises this process's niceness to `nice`; one that is higher already stays. Linux may schedule by session
 * (sched_autogroup), and then a niceness counts within the session only: a process that leads its own gives the session
 * one, too. Where the system refuses, the process runs at the niceness that it has.
 */
export async function yieldTo(nice: number, log: Pick<Log, 'warning'>): Promise<void> {
  try {
    if (getPriority() < nice) setPriority(nice);
  } catch (error) {
    log.warning(`the niceness could not be raised to ${String(nice)}: ${errorMessage(error)}`);
  }
  if (!leadsSession()) return;
  for (let tries = 0; tries < MAX_AUTOGROUP_TRIES; tries += 1) {
    try {
      writeFileSync('/proc/self/autogroup', String(Math.min(nice, MAX_SESSION_NICENESS)));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
    }
    await sleep(AUTOGROUP_RETRY_MS);
  }
}

function leadsSession(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]) === process.pid;
  } catch {
    return false;
  }
}
