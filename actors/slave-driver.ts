import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import type { PiwError } from '../src/errors.js';
import { buildHints } from '../src/protocols/builds.js';
import { slaveControl } from '../src/protocols/control.js';
import { fileJuggler } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import {
  slaveDriver,
  type BuildOrder,
  type SlaveAnswer,
  type SlaveVerbs,
} from '../src/protocols/slave-driver.js';
import { Admission } from './slave-driver/admission.js';
import { UserBuckets } from './slave-driver/buckets.js';
import { FollowedBuilds } from './slave-driver/followed-builds.js';
import { SlaveHealthMonitor } from './slave-driver/health.js';
import { SlaveLeases } from './slave-driver/leases.js';
import { Leftovers } from './slave-driver/leftovers.js';
import { SlaveOrders } from './slave-driver/orders.js';
import { RequestQueues } from './slave-driver/request-queues.js';
import { ResultFiles } from './slave-driver/result-files.js';
import { ResultRecorder } from './slave-driver/results.js';
import type { SessionServices, SlaveSession } from './slave-driver/session.js';
import { SlaveSessions, type SessionKey } from './slave-driver/slave-sessions.js';
import { formatTarget } from './slave-driver/slave-state.js';
import { SlaveStatusFeed } from './slave-driver/status.js';
import { assertTransition, type SessionRequest } from './slave-driver/transitions.js';
import { UnregisteredTargets } from './slave-driver/unregistered-targets.js';
import { SlaveWaker } from './slave-driver/waker.js';

interface SlaveDriverSettings {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  readonly registerTargets: boolean;
  /** Limits of one build: seconds, bytes of log, bytes of one wheel. */
  readonly limits: Readonly<BuildOrder['limits']>;
  /** Whether to refuse a wheel that lacks its compiled part, instead of publishing it. */
  readonly refuseIncomplete: boolean;
}

type ByeAnswer = Answer<SlaveVerbs, 'BYE'>;

const DONE = { verb: 'DONE' } as const;
/** Timeouts of requests to The Oracle and the File Juggler, which may be restarting. */
const PATIENT = { timeoutMs: 10_000, patienceMs: 30_000 };
/** Seconds between publications of the slaves that have changed. */
const STATUS_INTERVAL_S = 0.25;
/** Seconds between checks whether an unknown target has been registered. */
const TARGET_CHECK_INTERVAL_S = 5;
/** Seconds between reviews of the failures of slaves that are set aside. */
const HEALTH_REVIEW_INTERVAL_S = 5;
/** Seconds between renewals of the leases of slaves that are sending files. */
const SENDING_RENEWAL_INTERVAL_S = 5;
/** Seconds between checks for builds that nobody follows any longer. */
const FOLLOWED_EXPIRY_INTERVAL_S = 15;
/** Seconds between removals of files whose build lost its lease, and of sessions that have been silent for long. */
const CLEANUP_INTERVAL_S = 60;
/**
 * How long, and at what interval, the Slave Driver tries again to answer a SENT while another slave's file of the same
 * name is published, but not in the database yet.
 */
const LISTING_WAIT = { maxMs: 10_000, intervalMs: 200 };

/**
 * Serves the build slaves. The slaves take the initiative: each sends a request, and the answer says what to do
 * next (see the table of requests and answers in protocols/slave-driver.ts, and SlaveSession, which answers them):
 *
 *   HELLO   registers the session, whatever its earlier state was
 *   IDLE    requests a build from the Architect, who grants it under a lease. A slave whose BUILD answer was
 *           lost gets the same build again
 *   REST    the slave can't work now, and says why; the lease that it holds, if any, is released
 *   BUSY    renews the lease. The answer is DONE if the slave has lost it, or an administrator skipped the build
 *   BUILT   logs a failure. The files of a success are checked against the lease, announced to the
 *           File Juggler and requested one by one
 *   SENT    has the File Juggler verify the file, then requests the next one. When all are published, the
 *           build is logged and its pages are due. While the farm's disk is full or failing, the slave is
 *           told to WAIT: it keeps its lease and its files, and whatever has already arrived is kept
 *
 * OUTPUT is the output of a build that an administrator follows: it only passes through (FollowedBuilds).
 *
 * All durable state is in the database (leases, results) or with the slave (the files, until DONE). The state
 * in memory is lost with the process: a request in an unknown session is answered with PIW_UNKNOWN_SLAVE, and the
 * slave sends HELLO and repeats the request; a SENT for an unknown build is answered with PIW_UNKNOWN_TRANSFER, and
 * the slave repeats BUILT. The requests of one session are served in sequence, so that a repeated request sees
 * the effect of the first.
 */
export class SlaveDriver extends Actor {
  readonly #sessions = new SlaveSessions<SlaveSession>();
  readonly #requests = new RequestQueues();
  readonly #buckets = new UserBuckets(this.bus);
  readonly #waker = new SlaveWaker(this.bus, this.#sessions);
  readonly #status = new SlaveStatusFeed(this.bus, this.clock, this.#sessions);
  /** What the parts of this actor share. */
  readonly #shared = {
    bus: this.bus,
    log: this.log,
    clock: this.clock,
    conditions: this.conditions,
    database: new ProtocolClient(this.bus, oracle, undefined, PATIENT),
    files: new ProtocolClient(this.bus, fileJuggler, undefined, PATIENT),
    slaves: this.#sessions,
    waker: this.#waker,
  };
  readonly #leases = new SlaveLeases(
    this.bus,
    this.clock,
    () => this.context.assertLeader(),
    (error) => {
      this.#reportGrantError(error);
    },
  );
  readonly #targets = new UnregisteredTargets(this.#shared);
  readonly #followed = new FollowedBuilds(this.#shared);
  readonly #leftovers = new Leftovers(this.#shared);
  readonly #health = new SlaveHealthMonitor(this.#shared);
  readonly #orders = new SlaveOrders({ ...this.#shared, health: this.#health });
  readonly #admission: Admission;

  constructor(context: ActorContext, settings: SlaveDriverSettings) {
    super(context);
    const { limits, refuseIncomplete, indexUrl, extraIndexUrl, registerTargets } = settings;
    const shared = { ...this.#shared, leftovers: this.#leftovers, health: this.#health };
    const services: SessionServices = {
      clock: this.clock,
      log: this.log,
      leases: this.#leases,
      health: this.#health,
      limits,
      refuseIncomplete,
      files: new ResultFiles({ ...shared, maxWheelBytes: limits[2] }),
      results: new ResultRecorder(shared),
      isPaused: () => this.paused,
      onChange: (slave) => {
        this.#status.markChanged(slave);
      },
    };
    this.#admission = new Admission({
      ...shared,
      buckets: this.#buckets,
      targets: this.#targets,
      services,
      indexUrl,
      extraIndexUrl,
      registerTargets,
    });
  }

  override start(): void {
    this.#serveSlaves();
    this.#serveAdministrators();
    this.serve(
      buildHints,
      {
        READY: ({ abi, platform }) => {
          const target = `${abi} on ${platform}`;
          this.#leases.markReady(target);
          return this.#waker.wakeWaiting(({ hello }) => formatTarget(hello) === target);
        },
      },
      { queue: null },
    );
    this.every(STATUS_INTERVAL_S, () => this.#status.publishChanges());
    this.every(SENDING_RENEWAL_INTERVAL_S, () =>
      this.#leases.renewSending(this.#sessions, this.clock.monotonicMs()),
    );
    this.every(TARGET_CHECK_INTERVAL_S, () => this.#targets.check());
    this.every(HEALTH_REVIEW_INTERVAL_S, () => this.#health.review());
    this.every(FOLLOWED_EXPIRY_INTERVAL_S, () => {
      this.#followed.expire();
    });
    this.every(CLEANUP_INTERVAL_S, () => this.#leftovers.removeExpired(), CLEANUP_INTERVAL_S);
    this.every(
      CLEANUP_INTERVAL_S,
      () => {
        this.#sessions.expire(this.clock.monotonicMs());
      },
      CLEANUP_INTERVAL_S,
    );
  }

  protected override async onPauseChanged(): Promise<void> {
    if (!this.paused) await this.#waker.wakeWaiting();
  }

  #serveSlaves(): void {
    this.serve(
      slaveDriver,
      {
        HELLO: (hello, from) => {
          const key = sessionOf(from);
          return this.#requests.run(key, () => this.#admission.hello(hello, key));
        },
        IDLE: ({ stats }, from) => this.#inSession('IDLE', from, (session) => session.idle(stats)),
        REST: ({ reason, stats }, from) =>
          this.#inSession('REST', from, (session) => session.rest(reason, stats)),
        BUSY: ({ lease, stats }, from) =>
          this.#inSession('BUSY', from, (session) => session.busy(lease, stats)),
        BUILT: (built, from) => this.#inSession('BUILT', from, (session) => session.built(built)),
        SENT: (sent, from) => this.#sent(sent, from),
        OUTPUT: (output, from) => this.#followed.receive(sessionOf(from), output),
        BYE: (_, from) => this.#requests.run(sessionOf(from), () => this.#bye(sessionOf(from))),
      },
      {
        tokens: [slaveDriver.name, '*', '*'],
        concurrency: 10_000,
        senderOf: (from) => sessionOf(from).user,
        bucketOf: (from) => this.#buckets.nameOf(sessionOf(from).user),
      },
    );
  }

  #serveAdministrators(): void {
    this.serve(slaveControl, {
      KILL: async ({ slave_id, after_build }) => {
        await this.#orders.kill(slave_id, after_build);
        return DONE;
      },
      SLEEP: async ({ slave_id }) => {
        await this.#orders.sleep(slave_id);
        return DONE;
      },
      WAKE: async ({ slave_id }) => {
        await this.#orders.wake(slave_id);
        return DONE;
      },
      SKIP: async ({ slave_id }) => {
        await this.#orders.skip(slave_id);
        return DONE;
      },
      FOLLOW: (request) => this.#followed.follow(request),
      HELLO: async () => ({ verb: 'SLAVES', slaves: await this.#status.publishAll() }),
    });
  }

  /**
   * Answers a request within a session, after the session's earlier requests. Throws PIW_UNKNOWN_SLAVE if the session
   * is unknown. If an administrator wants the slave to exit at once, the answer to any request is BYE.
   */
  async #inSession<A extends SlaveAnswer | undefined>(
    request: SessionRequest,
    from: MessageOrigin,
    answerRequest: (session: SlaveSession) => Promise<A>,
  ): Promise<A | ByeAnswer> {
    const key = sessionOf(from);
    return await this.#requests.run(key, async () => {
      const session = this.#sessions.getOrThrow(key);
      session.lastSeen = this.clock.monotonicMs();
      const { activity } = session;
      const answer = await (session.kill === 'now' ? session.dismiss() : answerRequest(session));
      if (answer) assertTransition(request, answer.verb, activity, session);
      return answer;
    });
  }

  /**
   * Answers SENT. If another slave's file of the same name will soon be in the database, this tries again every
   * `LISTING_WAIT.intervalMs`. Between two attempts, the session's other requests, such as BUSY, are answered.
   */
  async #sent(sent: Body<SlaveVerbs, 'SENT'>, from: MessageOrigin): Promise<Answer<SlaveVerbs, 'SENT'>> {
    const giveUpAt = this.clock.monotonicMs() + LISTING_WAIT.maxMs;
    for (;;) {
      const awaitsListing = this.clock.monotonicMs() < giveUpAt;
      const answer = await this.#inSession('SENT', from, (session) => session.sent(sent, awaitsListing));
      if (answer) return answer;
      await new Promise<void>((resolve) => this.clock.after(LISTING_WAIT.intervalMs, resolve));
    }
  }

  /** Answers BYE, also to a slave without a session. */
  async #bye(key: SessionKey): Promise<ByeAnswer> {
    const session = this.#sessions.get(key);
    await session?.leave();
    this.#sessions.delete(key);
    return { verb: 'BYE', reason: 'goodbye' };
  }

  /** Raises or clears the condition that no builds can be granted. The slaves themselves are just told to wait. */
  #reportGrantError(error: PiwError | undefined): void {
    const { conditions, context } = this;
    if (!error) conditions.clear('no-builds', context.task);
    else
      conditions.raise(
        'no-builds',
        context.task,
        `no builds can be granted: ${error.code}: ${error.message}`,
      );
  }
}

const sessionOf = ({ tokens }: MessageOrigin): SessionKey => ({
  user: tokens[1] ?? '',
  session: tokens[2] ?? '',
});
