import type { ProtocolClient } from '../../src/actor/client.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { Log } from '../../src/log.js';
import type { oracle } from '../../src/protocols/oracle.js';
import type { Answer } from '../../src/protocols/protocol.js';
import type { SlaveHello, SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { targetRefusal } from '../../src/wheels/accept.js';
import type { UserBuckets } from './buckets.js';
import type { SlaveHealthMonitor } from './health.js';
import { SlaveSession, type SessionServices } from './session.js';
import type { SessionKey, SlaveSessions } from './slave-sessions.js';
import type { UnregisteredTargets } from './unregistered-targets.js';

/** The log warns of a slave's clock that is off by more than this. */
const MAX_CLOCK_SKEW_MS = 300_000;

interface AdmissionOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly database: ProtocolClient<typeof oracle.verbs>;
  readonly slaves: SlaveSessions<SlaveSession>;
  readonly buckets: UserBuckets;
  readonly targets: UnregisteredTargets;
  readonly health: SlaveHealthMonitor;
  /** What new sessions get. */
  readonly services: SessionServices;
  /** The index from which slaves build, and a second one. */
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  /** Whether to register the targets of slaves that say HELLO. */
  readonly registerTargets: boolean;
}

/**
 * Decides which slaves may connect. A slave of another protocol version, or with a target that can't exist, is answered
 * BYE. Any other gets its slave id from the database, and a session, unless its user starts sessions too fast.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  /** Users that start sessions too fast, so that the log warns once per user. */
  readonly #usersOverSessionLimit = new Set<string>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Answers HELLO. Throws PIW_REFUSED if the user starts too many sessions. */
  async hello(hello: SlaveHello, key: SessionKey): Promise<Answer<SlaveVerbs, 'HELLO'>> {
    const { log, targets, services, indexUrl, extraIndexUrl } = this.#options;
    const reason = this.#refusalReason(hello, key.user);
    if (reason !== undefined) return { verb: 'BYE', reason };
    this.#countSession(key);
    await this.#options.buckets.ensure(key.user);
    const slave = await this.#register(hello, key);
    this.#warnOfClock(slave);
    const { label, abi_tag: abi, platform_tag: platform } = hello;
    log.info('slave connected', { slave: slave.slaveId, label, abi, platform });
    if (!slave.targetRegistered) targets.warn(hello);
    services.onChange(slave);
    return { verb: 'HELLO', slave_id: slave.slaveId, index_url: indexUrl, extra_index_url: extraIndexUrl };
  }

  /** Returns, for the slave, why it is refused; undefined if it is not. */
  #refusalReason(hello: SlaveHello, user: string): string | undefined {
    const { log } = this.#options;
    const protocol = Number(hello.version.split('/')[1]);
    if (protocol !== SLAVE_PROTOCOL_VERSION) {
      log.warning('slave refused', { user, label: hello.label, reason: `it runs ${hello.version}` });
      return `this master is piw ${VERSION} with slave protocol ${SLAVE_PROTOCOL_VERSION}; install the same version here`;
    }
    const refusal = targetRefusal(hello);
    if (refusal !== undefined) log.warning('slave refused', { user, label: hello.label, reason: refusal });
    return refusal;
  }

  /** Counts a new session. Throws PIW_REFUSED if its user starts too many; the log warns once per user. */
  #countSession(key: SessionKey): void {
    const { log, clock, slaves } = this.#options;
    try {
      slaves.admit(key, clock.monotonicMs());
      this.#usersOverSessionLimit.delete(key.user);
    } catch (error) {
      if (!this.#usersOverSessionLimit.has(key.user))
        log.warning('session refused', { user: key.user }, error);
      this.#usersOverSessionLimit.add(key.user);
      throw error;
    }
  }

  /** Registers the session with the database, and returns it with what the database has about its slave. */
  async #register(hello: SlaveHello, key: SessionKey): Promise<SlaveSession> {
    const { clock, database, slaves, health, services, registerTargets } = this.#options;
    const { user, session } = key;
    const record = await database.request('HELLOSLAVE', {
      user,
      session,
      label: hello.label,
      abi: hello.abi_tag,
      platform: hello.platform_tag,
      py_version_tag: hello.py_version_tag,
      os_name: hello.os_name,
      os_version: hello.os_version,
      board: hello.board,
      register: registerTargets,
    });
    const now = clock.monotonicMs();
    // A session that already exists says HELLO again only because this process restarted its side: its lease
    // stays.
    const existing = slaves.get(key);
    const slave =
      existing ?? new SlaveSession(services, record.slave_id, user, session, hello, record.known_target, now);
    slave.hello = hello;
    slave.targetRegistered = record.known_target;
    slave.asleep = record.asleep;
    slave.kill = record.kill;
    slave.lastSeen = now;
    if (!existing) slaves.add(slave);
    await health.onHello(slave, record.set_aside);
    return slave;
  }

  #warnOfClock({ slaveId, hello }: SlaveSession): void {
    const { log, clock } = this.#options;
    const skewMs = hello.clock - clock.now();
    if (Math.abs(skewMs) <= MAX_CLOCK_SKEW_MS) return;
    const fields = { slave: slaveId, label: hello.label, off_s: Math.round(skewMs / 1000) };
    log.warning("the slave's clock is wrong", fields);
  }
}
