import { PiwError } from '../errors.js';
import type { SlaveState } from './slave-state.js';

/**
 * How many sessions a user may have: a slave has one for every interpreter. Of more, the one that has been silent
 * longest is forgotten; it says HELLO again if it still is one.
 */
const MAX_SESSIONS_PER_USER = 1000;
/** Each new session is a row of the database. A user that has begun MOST of them may begin one a second. */
const NEW_SESSION_INTERVAL_MS = 1000;
/** A slave that is silent for so long is shown no more; its lease has long run out. */
const SESSION_EXPIRY_MS = 3_600_000;

/** A slave's session: its user on NATS, and what it calls itself. */
export interface SessionKey {
  readonly user: string;
  readonly session: string;
}

/** The slaves that have said HELLO, each by its session. */
export class SlaveSessions implements Iterable<SlaveState> {
  readonly #slaves = new Map<string, SlaveState>();
  /** Until when each user has used up its new sessions, at one in SESSION_MS, by the monotonic clock. */
  readonly #quotaUsedUntil = new Map<string, number>();

  [Symbol.iterator](): Iterator<SlaveState> {
    return this.#slaves.values();
  }

  get(key: SessionKey): SlaveState | undefined {
    return this.#slaves.get(keyOf(key));
  }

  /** The slave of that session. Raises PIW_UNKNOWN_SLAVE if it has not said HELLO. */
  getOrThrow(key: SessionKey): SlaveState {
    const slave = this.get(key);
    if (slave) return slave;
    throw new PiwError('PIW_UNKNOWN_SLAVE', 'this session has not said HELLO');
  }

  /** The slave of that number, or all (null). Raises PIW_UNKNOWN_SLAVE. */
  findBySlaveId(slaveId: number | null): readonly SlaveState[] {
    const slaves = [...this].filter((slave) => slaveId === null || slave.slaveId === slaveId);
    if (slaveId !== null && slaves.length === 0)
      throw new PiwError('PIW_UNKNOWN_SLAVE', `there is no slave ${String(slaveId)}`);
    return slaves;
  }

  /** A session is about to begin. Raises PIW_REFUSED where its user begins too many. */
  admit(key: SessionKey, now: number): void {
    if (this.get(key)) return;
    const usedUntil = this.#quotaUsedUntil.get(key.user) ?? -Infinity;
    const until = Math.max(usedUntil, now) + NEW_SESSION_INTERVAL_MS;
    if (until > now + MAX_SESSIONS_PER_USER * NEW_SESSION_INTERVAL_MS)
      throw new PiwError('PIW_REFUSED', `${key.user} begins too many sessions`);
    this.#quotaUsedUntil.set(key.user, until);
  }

  /** Raises PIW_REFUSED where its user builds in as many sessions as it may have. */
  add(slave: SlaveState): void {
    this.#evictIdlest(slave.user);
    this.#slaves.set(keyOf(slave), slave);
  }

  delete(key: SessionKey): void {
    this.#slaves.delete(keyOf(key));
  }

  /** Those that have long been silent are no slaves any more. */
  expire(now: number): void {
    for (const [name, slave] of this.#slaves)
      if (slave.lastSeen < now - SESSION_EXPIRY_MS) this.#slaves.delete(name);
    for (const [user, until] of this.#quotaUsedUntil) if (until < now) this.#quotaUsedUntil.delete(user);
  }

  #evictIdlest(user: string): void {
    const userSessions = [...this].filter((slave) => slave.user === user);
    if (userSessions.length < MAX_SESSIONS_PER_USER) return;
    const idle = userSessions.filter(({ lease }) => lease === undefined);
    const [oldest] = idle.sort((a, b) => a.lastSeen - b.lastSeen);
    if (!oldest)
      throw new PiwError('PIW_REFUSED', `${user} builds in ${String(userSessions.length)} sessions already`);
    this.delete(oldest);
  }
}

const keyOf = ({ user, session }: SessionKey): string => `${user}.${session}`;
