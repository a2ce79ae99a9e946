import { randomUUID } from 'node:crypto';
import type { Bus } from '../../src/bus/bus.js';
import { encode } from '../../src/bus/codec.js';
import { actorPing } from '../../src/protocols/control.js';

const INTERVAL_MS = 250;

/**
 * Measures for how long each of these tasks has no process at work: pings all processes of the farm through each of
 * these connections, and notes when one that leads its task answers.
 */
export class LeaderProbe {
  readonly #buses: readonly Bus[];
  readonly #timer: NodeJS.Timeout;
  readonly #lastSeen = new Map<string, number>();
  readonly #longest = new Map<string, number>();

  constructor(buses: readonly Bus[], tasks: readonly string[]) {
    this.#buses = buses;
    const now = performance.now();
    for (const task of tasks) this.#lastSeen.set(task, now);
    const inboxes = buses.map((bus) => {
      const inbox = `_INBOX.${randomUUID()}`;
      void this.#read(bus, inbox);
      return inbox;
    });
    this.#timer = setInterval(() => {
      for (const [i, bus] of this.#buses.entries()) {
        const reply = inboxes[i] ?? '';
        if (!bus.connection.isClosed())
          bus.connection.publish(
            bus.subject(actorPing.name, 'all', 'PING'),
            encode(actorPing.pack('PING', {})),
            {
              reply,
            },
          );
      }
    }, INTERVAL_MS);
  }

  /** Starts a new measurement. */
  restart(): void {
    this.#longest.clear();
  }

  /** Returns the task that was without a process at work for longest since restart(), and for how many seconds. */
  longestGap(): { readonly task: string; readonly seconds: number } {
    const now = performance.now();
    const gaps = [...this.#lastSeen].map(([task, at]) => ({
      task,
      seconds: Math.max(this.#longest.get(task) ?? 0, now - at) / 1000,
    }));
    return gaps.reduce((longest, gap) => (gap.seconds > longest.seconds ? gap : longest));
  }

  /** Whether every task has been answered for within the last second. */
  get allAtWork(): boolean {
    const now = performance.now();
    return [...this.#lastSeen.values()].every((at) => now - at < 1000);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#buses.map((bus) => bus.drain()));
  }

  async #read(bus: Bus, inbox: string): Promise<void> {
    for await (const message of bus.subscribe(inbox)) {
      // The server says that nobody listens.
      if (message.size === 0) continue;
      const answer = actorPing.unpackAnswer('PING', await message.body());
      const lastSeen = this.#lastSeen.get(answer.task);
      if (!answer.leader || lastSeen === undefined) continue;
      const now = performance.now();
      this.#longest.set(answer.task, Math.max(this.#longest.get(answer.task) ?? 0, now - lastSeen));
      this.#lastSeen.set(answer.task, now);
    }
  }
}
