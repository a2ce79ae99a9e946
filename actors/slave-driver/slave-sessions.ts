import { PiwError } from '../../src/errors.js';
import type { SlaveState } from './slave-state.js';

/**
 * How many sessions a user may have: a slave has one per interpreter. Beyond that, the idle session that has been
 * silent longest is forgotten; if its slave still runs, it sends HELLO again.
 */
const MAX_SESSIONS_PER_USER = 1000;
/** Each new session is a row in the database. A user that has used up its burst may start one session a second. */
const NEW_SESSION_INTERVAL_MS = 1000;
/** After this silence a slave is no longer shown; its lease has expired long before. */
const SESSION_EXPIRY_MS = 3_600_000;

/** The key of a slave's session: its NATS user, and the session id that it chose. */
export interface SessionKey {
  readonly user: string;
  readonly session: string;
}

/** The slaves that have sent HELLO, by session. */
export class SlaveSessions<S extends SlaveState = SlaveState> implements Iterable<S> {
  readonly #slaves = new Map<string, S>();
  /** Per user, the monotonic time up to which its new sessions, one per NEW_SESSION_INTERVAL_MS, are used up. */
  readonly #quotaUsedUntil = new Map<string, number>();

  [Symbol.iterator](): Iterator<S> {
    return this.#slaves.values();
  }

  get(key: SessionKey): S | undefined {
    return this.#slaves.get(keyOf(key));
  }

  /** Returns the slave of this session. Throws PIW_UNKNOWN_SLAVE if it has not sent HELLO. */
  getOrThrow(key: SessionKey): S {
    const slave = this.get(key);
    if (slave) return slave;
    throw new PiwError('PIW_UNKNOWN_SLAVE', 'this session has not said HELLO');
  }

  /** Returns the sessions of this slave, or (null) of all. Throws PIW_UNKNOWN_SLAVE if the slave has none. */
  findBySlaveId(slaveId: number | null): readonly S[] {
    const slaves = [...this].filter((slave) => slaveId === null || slave.slaveId === slaveId);
    if (slaveId !== null && slaves.length === 0)
      throw new PiwError('PIW_UNKNOWN_SLAVE', `there is no slave ${slaveId}`);
    return slaves;
  }

  /** Counts a session that is about to start. Throws PIW_REFUSED if its user starts sessions too fast. */
  admit(key: SessionKey, now: number): void {
    if (this.get(key)) return;
    const usedUntil = this.#quotaUsedUntil.get(key.user) ?? -Infinity;
    const until = Math.max(usedUntil, now) + NEW_SESSION_INTERVAL_MS;
    if (until > now + MAX_SESSIONS_PER_USER * NEW_SESSION_INTERVAL_MS)
      throw new PiwError('PIW_REFUSED', `${key.user} starts too many sessions`);
    this.#quotaUsedUntil.set(key.user, until);
  }

  /** Adds a slave. Throws PIW_REFUSED if its user has the maximum number of sessions and builds in all of them. */
  add(slave: S): void {
    this.#evictIdlest(slave.user);
    this.#slaves.set(keyOf(slave), slave);
  }

  delete(key: SessionKey): void {
    this.#slaves.delete(keyOf(key));
  }

  /** Forgets sessions that have been silent for longer than SESSION_EXPIRY_MS. */
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
      throw new PiwError('PIW_REFUSED', `${user} is already building in ${userSessions.length} sessions`);
    this.delete(oldest);
  }
}

const keyOf = ({ user, session }: SessionKey): string => `${user}.${session}`;
