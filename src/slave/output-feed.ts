import type { Clock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { rethrowUnexpected } from '../errors.js';
import { printableLine } from '../failures/terminal-sequences.js';
import type { Answer, Body } from '../protocols/protocol.js';
import { MAX_OUTPUT_LINES, MAX_OUTPUT_LINE_CHARS } from '../protocols/slave-driver.js';
import type { SlaveVerbs, WakeVerbs } from '../protocols/slave-driver.js';

/** How much of the newest output is kept for somebody who begins to follow, and sent at a time, characters. */
const KEPT_CHARS = 64 * 1024;
/** Milliseconds between two OUTPUT. */
const SEND_INTERVAL_MS = 500;
/** The longest time for which one FOLLOW holds, seconds. */
const MAX_FOLLOW_S = 60;

interface OutputFeedOptions {
  readonly clock: Clock;
  readonly send: (
    output: Body<SlaveVerbs, 'OUTPUT'>,
    signal: AbortSignal,
  ) => Promise<Answer<SlaveVerbs, 'OUTPUT'>>;
}

/** The build whose output the slave has. */
interface CurrentBuild {
  readonly lease: number;
  readonly signal: AbortSignal;
  /** The newest lines, as they were written. */
  readonly lines: string[];
  chars: number;
  /** The number of the first of them; the lines of a build are numbered from 0. */
  first: number;
  /** The number of the next line to send. */
  next: number;
  /** Monotonic time, milliseconds. */
  followedUntil: number;
  sending: Promise<void> | undefined;
}

/**
 * Sends the output of the current build to the master while somebody follows it:
 *
 *   quiet --FOLLOW--> sending: OUTPUT with the lines that are new, twice a second at most
 *     ^                  |
 *     +--- the time of the last FOLLOW is over; DONE, or no answer, to OUTPUT; the end of the build
 *
 * While it is quiet it only keeps the newest lines. OUTPUT is no part of the slave's session: whatever happens to it,
 * the build goes on.
 */
export class OutputFeed {
  readonly #options: OutputFeedOptions;
  #build: CurrentBuild | undefined;

  constructor(options: OutputFeedOptions) {
    this.#options = options;
  }

  /** Begins with a new build, whose end aborts the signal. */
  begin(lease: number, signal: AbortSignal): void {
    const followedUntil = -Infinity;
    this.#build = {
      lease,
      signal,
      lines: [],
      chars: 0,
      first: 0,
      next: 0,
      followedUntil,
      sending: undefined,
    };
  }

  /** Keeps a line of the current build's output, and forgets the oldest ones that are too many. */
  add(line: string): void {
    const build = this.#build;
    if (!build) return;
    build.lines.push(line.slice(0, MAX_OUTPUT_LINE_CHARS));
    build.chars += Math.min(line.length, MAX_OUTPUT_LINE_CHARS);
    while (build.chars > KEPT_CHARS || build.lines.length > MAX_OUTPUT_LINES) {
      build.chars -= build.lines.shift()?.length ?? 0;
      build.first += 1;
    }
  }

  /** Sends the output from line `from` on, for some seconds. Ignores a FOLLOW for another build. */
  follow({ lease, from, seconds }: Body<WakeVerbs, 'FOLLOW'>): void {
    const build = this.#build;
    if (build?.lease !== lease || build.signal.aborted) return;
    build.followedUntil = this.#options.clock.monotonicMs() + Math.min(seconds, MAX_FOLLOW_S) * 1000;
    // Another master, which has not received what the last one has.
    if (from < build.next || build.sending === undefined) build.next = from;
    build.sending ??= this.#sendLines(build).finally(() => {
      build.sending = undefined;
    });
  }

  /** Forgets the build, whose signal has been aborted. */
  async end(): Promise<void> {
    const sending = this.#build?.sending;
    this.#build = undefined;
    await sending;
  }

  async #sendLines(build: CurrentBuild): Promise<void> {
    const { clock, send } = this.#options;
    const { signal, lease, lines } = build;
    try {
      while (!signal.aborted && clock.monotonicMs() < build.followedUntil) {
        const first = Math.max(build.next, build.first);
        const unsent = lines.slice(first - build.first).map((line) => printableLine(line));
        if (unsent.length > 0) {
          build.next = first + unsent.length;
          const answer = await send({ lease, first, lines: unsent }, signal);
          if (answer.verb === 'DONE') return;
        }
        await pause(clock, SEND_INTERVAL_MS, signal);
      }
    } catch (error) {
      // The next FOLLOW says from which line on the output is missing.
      rethrowUnexpected(error);
    }
  }
}
