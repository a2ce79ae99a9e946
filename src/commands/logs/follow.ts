import { setTimeout as delay } from 'node:timers/promises';
import { ProtocolClient } from '../../actor/client.js';
import type { Bus } from '../../bus/bus.js';
import { retry } from '../../concurrency/retry.js';
import { PiwError, hasCode } from '../../errors.js';
import { FOLLOW_INTERVAL_MS, slaveControl, type SlaveStatus } from '../../protocols/control.js';
import { oracle } from '../../protocols/oracle.js';
import { printableLine } from '../../failures/terminal-sequences.js';
import { outputLines } from './printable.js';
import { formatQuantity } from '../../units.js';

/** A request for output is one of many: it is repeated by itself. */
const REQUEST_LIMITS = { timeoutMs: 5000, patienceMs: 5000 };
/** Milliseconds between two attempts while the farm does not answer, and while its Slave Driver has no session of the slave. */
const RETRY_INTERVAL_MS = 1000;
const UNREACHABLE_EXIT_CODE = 5;
/** How many of the last printed lines are looked for in the log. */
const ANCHOR_LINES = 5;

/** What to follow: a package, perhaps one version of it, perhaps on one slave; or whatever a slave builds. */
export interface FollowRequest {
  readonly package: string | undefined;
  readonly version: string | undefined;
  /** A slave's number or name. */
  readonly slave: string | undefined;
}

interface FollowOptions {
  readonly bus: Bus;
  readonly signal: AbortSignal;
  /** Prints a line of output, which may have any characters but line ends. */
  readonly printLine: (line: string) => void;
  /** Says something about the output. */
  readonly say: (sentence: string) => void;
}

/** Returns the slaves that are building what is to be followed, or are sending its files. */
export async function findBuildingSlaves(
  bus: Bus,
  request: FollowRequest,
  signal: AbortSignal,
): Promise<readonly SlaveStatus[]> {
  const limits = { timeoutMs: 8000, patienceMs: 8000, signal };
  const client = new ProtocolClient(bus, slaveControl, undefined, limits);
  const { slaves } = await client.request('HELLO', {});
  return slaves.filter(
    (slave) =>
      slave.package !== null &&
      (request.package === undefined || slave.package === request.package) &&
      (request.version === undefined || slave.version === request.version) &&
      (request.slave === undefined || [slave.user, String(slave.slave_id)].includes(request.slave)),
  );
}

/** Prints the output of one build while it is under way, and then what has been logged of it and was not printed. */
export class BuildFollower {
  readonly #options: FollowOptions;
  readonly #control: ProtocolClient<typeof slaveControl.verbs>;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #slaveId: number;
  #lease: number | null = null;
  /** The number of the next line to print. */
  #next = 0;
  /** The lines that were printed last. */
  readonly #anchor: string[] = [];
  #isFarmAway = false;

  constructor(slaveId: number, options: FollowOptions) {
    const limits = { ...REQUEST_LIMITS, signal: options.signal };
    this.#options = options;
    this.#slaveId = slaveId;
    this.#control = new ProtocolClient(options.bus, slaveControl, undefined, limits);
    this.#oracle = new ProtocolClient(options.bus, oracle, undefined, limits);
  }

  /**
   * Follows the slave's build to its end, and returns its number; undefined if the slave had none any longer. Throws
   * PIW_UNKNOWN_BUILD if the build ended without a result, and PIW_INTERRUPTED.
   */
  async follow(): Promise<number | undefined> {
    for (;;) {
      const lines = await this.#untilAnswered(() => this.#fetchLines());
      if (lines === 0) await this.#pause(FOLLOW_INTERVAL_MS);
      if (lines !== undefined) continue;
      const lease = this.#lease;
      if (lease === null) return undefined;
      const ended = await this.#untilAnswered(() => this.#findResult(lease));
      if (ended !== undefined) return ended;
      await this.#pause(RETRY_INTERVAL_MS);
    }
  }

  /** Prints the rest of the log of a build that was followed. */
  printRest(output: string): void {
    const lines = outputLines(output);
    const next = this.#positionIn(lines);
    if (next === undefined) this.#options.say('the whole log:');
    for (const line of lines.slice(next)) this.#options.printLine(line);
  }

  /** Prints the next lines and returns how many there were; undefined if the slave no longer has the build. */
  async #fetchLines(): Promise<number | undefined> {
    const request = { slave_id: this.#slaveId, lease: this.#lease, from: this.#next };
    const answer = await this.#control.request('FOLLOW', request).catch((error: unknown) => {
      // A Slave Driver that has been restarted does not know the slave until it speaks.
      if (hasCode(error, 'PIW_UNKNOWN_SLAVE')) return { verb: 'NONE' } as const;
      throw error;
    });
    if (answer.verb === 'NONE') return undefined;
    const { lease, first, lines } = answer;
    this.#lease = lease;
    if (lines.length > 0 && first > this.#next)
      this.#options.say(
        `${formatQuantity(first - this.#next, 'line of its output is', 'lines of its output are')} not shown here; see its log when it has ended`,
      );
    for (const line of lines) this.#options.printLine(line);
    if (lines.length > 0) this.#next = first + lines.length;
    this.#anchor.push(...lines);
    this.#anchor.splice(0, this.#anchor.length - ANCHOR_LINES);
    return lines.length;
  }

  /** Returns the number of the build that was logged under the lease; undefined while the slave still holds it. */
  async #findResult(lease: number): Promise<number | undefined> {
    const held = await this.#oracle.request('GETLEASE', { lease, slave_id: this.#slaveId });
    if (held.package !== null) return undefined;
    const { build_id } = await this.#oracle.request('LEASEBUILD', { lease });
    if (build_id !== null) return build_id;
    throw new PiwError('PIW_UNKNOWN_BUILD', 'the build ended without a result, and is queued again');
  }

  /**
   * Returns the index of the first of the log's lines that was not printed; undefined if that can't be told, because
   * the slave has cut the log, or the output has lines that are longer than the slave sends them.
   */
  #positionIn(lines: readonly string[]): number | undefined {
    const anchor = this.#anchor;
    const endsAt = (end: number): boolean =>
      anchor.every((line, i) => printableLine(lines[end - anchor.length + i] ?? '').startsWith(line));
    if (endsAt(this.#next)) return this.#next;
    for (let end = lines.length; end >= anchor.length; end -= 1) if (endsAt(end)) return end;
    return undefined;
  }

  /** Repeats a request until the farm answers it. */
  async #untilAnswered<T>(request: () => Promise<T>): Promise<T> {
    const { signal, say } = this.#options;
    const onFailure = (error: unknown): number => {
      if (!(error instanceof PiwError) || error.exitCode !== UNREACHABLE_EXIT_CODE) throw error;
      if (!this.#isFarmAway) say(`the farm does not answer; waiting for it: ${error.message}`);
      this.#isFarmAway = true;
      return RETRY_INTERVAL_MS;
    };
    const answer = await retry(request, onFailure, { signal });
    if (this.#isFarmAway) say('the farm answers again');
    this.#isFarmAway = false;
    return answer;
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#options;
    await delay(ms, undefined, { signal }).catch(() => {
      throw new PiwError('PIW_INTERRUPTED', 'interrupted');
    });
  }
}
