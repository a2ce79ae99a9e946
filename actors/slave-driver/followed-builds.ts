import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { slaveControl } from '../../src/protocols/control.js';
import type { Answer, Body } from '../../src/protocols/protocol.js';
import { MAX_OUTPUT_LINES, wake, type SlaveVerbs } from '../../src/protocols/slave-driver.js';
import type { SlaveSessions, SessionKey } from './slave-sessions.js';
import type { SlaveState } from './slave-state.js';

/** How long a build stays followed after the last request for its output, milliseconds. */
const FOLLOW_LIMIT_MS = 15_000;
/** How often its slave is told so. */
const RENEWAL_INTERVAL_MS = 5000;
/** Output that comes faster is dropped, milliseconds: a slave sends it twice a second. */
const MIN_OUTPUT_INTERVAL_MS = 100;
/** How much of a build's output is kept for its followers, characters: they fetch it twice a second. */
const KEPT_CHARS = 256 * 1024;
/** How much is sent to a follower at a time, characters. */
const ANSWER_CHARS = 64 * 1024;

interface FollowedBuild {
  readonly lease: number;
  readonly slave: SlaveState;
  readonly lines: string[];
  chars: number;
  /** The number of the first of the lines. */
  first: number;
  /** Monotonic times, milliseconds. */
  followedUntil: number;
  renewedAt: number;
  receivedAt: number;
}

/**
 * Passes the output of builds that are under way on to those who follow them. A build is followed from the first
 * request for its output until FOLLOW_LIMIT_MS after the last one. While it is, its slave is told to send its output,
 * and the newest of it is kept here; the output of any other build is refused.
 */
export class FollowedBuilds {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #slaves: SlaveSessions;
  readonly #builds = new Map<number, FollowedBuild>();

  constructor({ bus, clock, slaves }: { bus: Bus; clock: Clock; slaves: SlaveSessions }) {
    this.#bus = bus;
    this.#clock = clock;
    this.#slaves = slaves;
  }

  /** Answers an administrator's FOLLOW. Throws PIW_UNKNOWN_SLAVE if the slave has no session. */
  async follow({
    slave_id,
    lease,
    from,
  }: Body<typeof slaveControl.verbs, 'FOLLOW'>): Promise<Answer<typeof slaveControl.verbs, 'FOLLOW'>> {
    const slave = this.#slaves
      .findBySlaveId(slave_id)
      .find((each) => each.lease !== undefined && (lease === null || each.lease.lease === lease));
    if (!slave?.lease) return { verb: 'NONE' };
    const build = this.#builds.get(slave.lease.lease) ?? this.#begin(slave.lease.lease, slave, from);
    const now = this.#clock.monotonicMs();
    build.followedUntil = now + FOLLOW_LIMIT_MS;
    if (now - build.renewedAt >= RENEWAL_INTERVAL_MS) {
      build.renewedAt = now;
      await this.#tellSlave(build);
    }
    return { verb: 'OUTPUT', lease: build.lease, ...linesFrom(build, from) };
  }

  /** Answers a slave's OUTPUT. Lines that are there already are dropped; dropped ones are missing in the next FOLLOW. */
  receive(
    key: SessionKey,
    { lease, first, lines }: Body<SlaveVerbs, 'OUTPUT'>,
  ): Answer<SlaveVerbs, 'OUTPUT'> {
    const build = this.#builds.get(lease);
    const isOfThisSlave = build?.slave.user === key.user && build.slave.session === key.session;
    const now = this.#clock.monotonicMs();
    if (!isOfThisSlave || build.followedUntil < now) return { verb: 'DONE' };
    if (now - build.receivedAt < MIN_OUTPUT_INTERVAL_MS) return { verb: 'CONT' };
    build.receivedAt = now;
    const next = build.first + build.lines.length;
    if (first > next) forgetLines(build, first);
    for (const line of lines.slice(Math.max(0, next - first))) {
      build.lines.push(line);
      build.chars += line.length;
    }
    while (build.chars > KEPT_CHARS) {
      build.chars -= build.lines.shift()?.length ?? 0;
      build.first += 1;
    }
    return { verb: 'CONT' };
  }

  /** Forgets the builds that nobody follows any longer. */
  expire(): void {
    const now = this.#clock.monotonicMs();
    for (const [lease, { followedUntil }] of this.#builds)
      if (followedUntil < now) this.#builds.delete(lease);
  }

  #begin(lease: number, slave: SlaveState, from: number): FollowedBuild {
    const times = { followedUntil: 0, renewedAt: -Infinity, receivedAt: -Infinity };
    const build: FollowedBuild = { lease, slave, lines: [], chars: 0, first: from, ...times };
    this.#builds.set(lease, build);
    return build;
  }

  async #tellSlave({ slave: { user, session }, lease, first, lines }: FollowedBuild): Promise<void> {
    const client = new ProtocolClient(this.#bus, wake, [wake.name, user, session]);
    const seconds = FOLLOW_LIMIT_MS / 1000;
    await client.publish('FOLLOW', { lease, from: first + lines.length, seconds });
  }
}

/** Forgets all lines: those before `first` will not come. */
function forgetLines(build: FollowedBuild, first: number): void {
  build.lines.length = 0;
  build.chars = 0;
  build.first = first;
}

/** Returns the lines from number `from` on, as many as one answer may have. */
function linesFrom(build: FollowedBuild, from: number): { first: number; lines: string[] } {
  const first = Math.max(from, build.first);
  const lines: string[] = [];
  let chars = 0;
  for (const line of build.lines.slice(first - build.first, first - build.first + MAX_OUTPUT_LINES)) {
    chars += line.length;
    if (chars > ANSWER_CHARS) break;
    lines.push(line);
  }
  return { first, lines };
}
