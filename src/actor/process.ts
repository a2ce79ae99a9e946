import { readFileSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError, hasCode } from '../errors.js';
import type { Log } from '../log.js';
import { onParentGone } from './parent.js';
import { runActor, type ActorSpec, type ActorRunOptions } from './run.js';

/** The exit code of an actor's process that has lost its lease, which its supervisor does not count as a failure. */
export const LEASE_LOST_EXIT_CODE = 75;
/** How often an actor's process sends a heartbeat to its supervisor, milliseconds. */
const HEARTBEAT_INTERVAL_MS = 1000;
/** How long a process may take to finish after its master has gone, milliseconds. */
const ORPHAN_LIMIT_MS = 7000;

/** The state of an actor: its code is loaded; it waits for a lease that another process holds; it works. */
export type ActorState = 'loaded' | 'standing by' | 'at work';

/** The messages of an actor's process to its supervisor, over IPC. */
export type ChildMessage =
  | { readonly beat: true; readonly state?: ActorState }
  | { readonly failure: { readonly code: string; readonly text: string } };

/** Runs an actor as this process: ends it on a signal, and sends a heartbeat every second. Returns the exit code. */
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
    options.log.warning('ending: the master has gone');
    setTimeout(() => process.exit(70), ORPHAN_LIMIT_MS);
    stop();
  });
  let heartbeatTimer: NodeJS.Timeout | undefined;
  let state: ActorState = 'loaded';
  const sendHeartbeat = (): void => {
    void tellSupervisor({ beat: true, state });
  };
  try {
    // The first heartbeat shows that the code is loaded, which takes long on a busy machine.
    await spec.load();
    heartbeatTimer = setInterval(sendHeartbeat, HEARTBEAT_INTERVAL_MS);
    sendHeartbeat();
    if (spec.nice !== undefined) await yieldTo(spec.nice, options.log);
    await runActor(spec, settings, {
      ...options,
      signal: controller.signal,
      onState: (newState) => {
        state = newState;
        sendHeartbeat();
      },
    });
    return 0;
  } catch (error) {
    if (hasCode(error, 'PIW_NOT_LEADER')) {
      options.log.warning('ending', {}, error);
      return LEASE_LOST_EXIT_CODE;
    }
    const isExpected = error instanceof PiwError;
    const stack = error instanceof Error && !isExpected ? error.stack : undefined;
    options.log.error('task failed', { stack }, error);
    if (isExpected) await reportFailure(error);
    return isExpected ? error.exitCode : 70;
  } finally {
    clearInterval(heartbeatTimer);
  }
}

/** Tells the supervisor which error is about to end this process. */
export async function reportFailure({ code, message }: PiwError): Promise<void> {
  await tellSupervisor({ failure: { code, text: message } });
}

/** Sends a message; resolves when it is written or can't be. */
function tellSupervisor(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    const written = (): void => {
      resolve();
    };
    if (process.connected && process.send) process.send(message, undefined, undefined, written);
    else written();
  });
}

/** Attempts to set the niceness of a session: the kernel lets one process of the machine set it every 100 ms. */
const MAX_AUTOGROUP_TRIES = 5;
const AUTOGROUP_RETRY_MS = 150;
/**
 * The highest niceness of a session. It counts against all other sessions, not only against those of the other tasks:
 * among many of them, a session of niceness 10 would get almost no CPU time.
 */
const MAX_SESSION_NICENESS = 5;

/**
 * Raises this process's niceness to `nice`, unless it is already higher. Linux may schedule by session
 * (sched_autogroup), and then a process's niceness counts only within its session, so a process that leads its
 * session sets the session's niceness too. If the system refuses, the process keeps the niceness that it has.
 */
export async function yieldTo(nice: number, log: Pick<Log, 'warning'>): Promise<void> {
  try {
    if (getPriority() < nice) setPriority(nice);
  } catch (error) {
    log.warning("can't raise the niceness", { niceness: nice }, error);
  }
  if (!leadsSession()) return;
  for (let attempt = 0; attempt < MAX_AUTOGROUP_TRIES; attempt += 1) {
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
