import type { Bus } from '../bus/bus.js';
import { systemClock } from '../concurrency/clock.js';
import { rethrowUnexpected } from '../errors.js';
import { ANNOUNCE_INTERVAL_S } from './task-watch.js';
import { status } from '../protocols/control.js';

/** A process of a task, as it announces itself. */
export interface TaskProcess {
  readonly task: string;
  readonly host: string;
  readonly pid: number;
  /** False if it stands by. */
  readonly working: boolean;
}

/** How long to listen, milliseconds: each process announces itself once within this time. */
const MIN_LISTENING_MS = ANNOUNCE_INTERVAL_S * 1000 + 300;
/** How long to listen if one of the tasks is missing: its process may be slow, or its successor just taking over. */
const MAX_LISTENING_MS = 7000;

/**
 * Returns the processes of the farm, masters included, by listening until each of `tasks` has one at work, or until it
 * is clear that none is running.
 */
export async function listProcesses(bus: Bus, tasks: readonly string[]): Promise<readonly TaskProcess[]> {
  const processes = new Map<string, TaskProcess>();
  const subscription = bus.subscribe(bus.subject(status.name, 'ACTOR'));
  const startedAt = performance.now();
  const atWork = new Set<string>();
  const stop = () => void subscription.stop();
  const isComplete = () => tasks.every((task) => atWork.has(task));
  const cancelTimers = [
    systemClock.after(MAX_LISTENING_MS, stop),
    systemClock.after(MIN_LISTENING_MS, () => {
      if (isComplete() || processes.size === 0) stop();
    }),
  ];
  try {
    for await (const incoming of subscription) {
      const announcement = readAnnouncement(await incoming.body());
      if (announcement === undefined) continue;
      const { task, host, pid, working } = announcement;
      processes.set(`${host}/${pid}/${task}`, { task, host, pid, working });
      if (working) atWork.add(task);
      if (isComplete() && performance.now() - startedAt >= MIN_LISTENING_MS) break;
    }
  } finally {
    for (const cancel of cancelTimers) cancel();
    await subscription.stop();
  }
  return [...processes.values()];
}

/** Returns what a process announces; undefined for that of another version. */
function readAnnouncement(body: unknown): TaskProcess | undefined {
  try {
    const message = status.unpack(body);
    return message.verb === 'ACTOR' ? message : undefined;
  } catch (error) {
    rethrowUnexpected(error);
    return undefined;
  }
}
