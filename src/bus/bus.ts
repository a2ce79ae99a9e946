import { headers, type Msg, type NatsConnection, type Subscription } from 'nats';
import { PiwError, errorMessage } from '../errors.js';
import { parseAddress, redactAddress } from './address.js';
import { ClaimStore } from './claims.js';
import { TRUSTED_LIMITS, UNTRUSTED_LIMITS, decode, encode } from './codec.js';
import { busError, causeOf, withTimeout } from './errors.js';
import { monitorConnection } from './monitor-connection.js';
import { ObjectStore } from './objects.js';
import { unlessAborted } from '../concurrency/abort.js';
import { systemClock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { retry } from '../concurrency/retry.js';
import { withWaitingReports } from '../concurrency/waiting-reports.js';
import { PendingRequests, RETRYABLE_CODES, requestError } from './requests.js';
import { permanentFailureReason, securityOptions, type SecurityOptions } from './security.js';
import { connectNats, tryOthersFirst } from './wire.js';

/** How early a timer may be, milliseconds: the seconds left are rounded up. */
const TIMER_TOLERANCE_MS = 50;

export interface BusOptions extends SecurityOptions {
  /** The name of the connection in the server's monitoring. */
  readonly name: string;
  /** The first token of every subject of this farm. */
  readonly prefix?: string;
  /** The object store bucket for bodies that are too large for a message. */
  readonly bucket?: string;
  /** The first tokens of this user's inboxes, which its permissions may depend on. */
  readonly inboxPrefix?: string;
  /** How long to retry the first connection, milliseconds. */
  readonly patienceMs?: number;
  /** Cancels the first connection. */
  readonly signal?: AbortSignal;
  /** Called with what the first connection waits for, after two seconds and then at intervals. */
  readonly onWaiting?: (text: string) => void;
  readonly onStatus?: (text: string, connected: boolean) => void;
  /** How late a pong may come before another server of the cluster is tried, milliseconds. */
  readonly pongLimitMs?: number;
}

export interface RequestOptions {
  /** The time limit of one attempt, milliseconds. */
  readonly timeoutMs?: number;
  /** The time limit of all attempts together, milliseconds; at least timeoutMs. */
  readonly patienceMs?: number;
  /** Never retry: the first failure is thrown. */
  readonly once?: boolean;
  readonly signal?: AbortSignal;
}

/** A received message. */
export interface BusMessage {
  readonly subject: string;
  /** Whether the sender waits for an answer. */
  readonly expectsReply: boolean;
  /** The payload's size in bytes; a body in the object store does not count. */
  readonly size: number;
  /** Returns the body, or a promise of it if it is in the object store. Throws PIW_MESSAGE_INVALID. */
  body(): unknown;
  respond(body: unknown): Promise<void>;
}

/**
 * An open subscription: read it with `for await`; after stop() the messages that have already arrived are still read.
 */
export interface BusSubscription extends AsyncIterable<BusMessage> {
  stop(): Promise<void>;
}

const CLAIM_HEADER = 'Piw-Claim';
/** The part of max_payload that is reserved for the headers of a message. */
const HEADER_RESERVE_BYTES = 4096;
/** The default time limit of a ping, milliseconds; a server that takes longer counts as unreachable. */
const PING_LIMIT_MS = 5000;
/** How late a pong may come by default before another server of a cluster is tried, milliseconds. */
const PONG_LIMIT_MS = 2000;
/** How long connecting to one server may take, and to one of several, milliseconds. */
const [CONNECT_LIMIT_MS, CLUSTER_CONNECT_LIMIT_MS] = [5000, 2000];
/** How long ending a subscription, or the connection, may take while the server does not answer, milliseconds. */
const END_LIMIT_MS = 2000;
const DRAIN_LIMIT_MS = 5000;

/**
 * The only adapter around NATS. It connects, reconnects for as long as the process lives, limits how long a request
 * takes, carries bodies of any size, and converts every error: whatever a caller calls, awaits or iterates throws only
 * PiwErrors, in any state of the connection.
 *
 * While the connection is down, published messages are lost, and requests wait and are retried: a request whose answer
 * was lost with the connection, or may have been lost with another server of the cluster, is retried at once, not after
 * its timeout.
 */
export class Bus {
  readonly prefix: string;
  readonly objects: ObjectStore;
  /** Called with each ERROR that a request is answered with, before it is thrown. */
  onErrorAnswer: (error: PiwError) => void = () => undefined;
  readonly #nc: NatsConnection;
  readonly #claims: ClaimStore;
  readonly #maxPayloadBytes: number;
  readonly #requests: PendingRequests;
  /** The process is about to end, and the server does not answer. */
  #abandoned = false;

  private constructor(nc: NatsConnection, options: BusOptions, servers: readonly string[]) {
    this.#nc = nc;
    this.#requests = new PendingRequests(nc);
    this.prefix = options.prefix ?? 'piw';
    this.objects = new ObjectStore(nc);
    this.#maxPayloadBytes = (nc.info?.max_payload ?? 1024 * 1024) - HEADER_RESERVE_BYTES;
    this.#claims = new ClaimStore(
      this.objects,
      options.bucket ?? `${this.prefix}-claims`,
      options.bucket !== undefined,
    );
    const hasOthers = servers.length > 1;
    if (hasOthers) tryOthersFirst(nc);
    void monitorConnection(nc, {
      pongLimitMs: options.pongLimitMs ?? PONG_LIMIT_MS,
      hasOthers,
      onStatus: (text, connected) => {
        options.onStatus?.(text, connected);
        this.#requests.rejectAll();
      },
      onOtherGone: () => {
        this.#requests.rejectRetried();
      },
    });
  }

  /**
   * Connects to NATS. Throws PIW_UNREACHABLE if there is no connection within patienceMs (default 10 s), and at once
   * if the servers refuse our credentials or we do not trust their certificate; PIW_CONFIG if a key or a file can't
   * be used; PIW_INTERRUPTED if the signal is aborted.
   */
  static async connect(options: BusOptions): Promise<Bus> {
    const { signal, onWaiting } = options;
    const { servers } = parseAddress(options.address);
    const security = securityOptions(options);
    const target = `NATS at ${redactAddress(options.address)}`;
    const deadline = performance.now() + (options.patienceMs ?? 10_000);
    let lastFailure = 'no answer yet';
    const report = (): void => {
      // A timer may be a few milliseconds early.
      const secondsLeft = Math.max(0, Math.ceil((deadline - performance.now() - TIMER_TOLERANCE_MS) / 1000));
      onWaiting?.(`waiting for ${target} (${lastFailure}); giving up in ${secondsLeft} s`);
    };
    const connect = () =>
      connectNats({
        servers: [...servers],
        name: options.name,
        ...security,
        ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
        maxReconnectAttempts: -1,
        reconnectTimeWait: 200,
        reconnectJitter: 200,
        pingInterval: 10_000,
        maxPingOut: 2,
        timeout: servers.length === 1 ? CONNECT_LIMIT_MS : CLUSTER_CONNECT_LIMIT_MS,
        // Capturing a stack trace for each request costs more than the request.
        noAsyncTraces: true,
        ignoreClusterUpdates: servers.length === 1,
      });
    const pauseOrGiveUp = (error: unknown): number => {
      if (error instanceof PiwError) throw error;
      const permanentReason = permanentFailureReason(error, options.tls);
      lastFailure = permanentReason ?? causeOf(error);
      if (permanentReason === undefined && performance.now() <= deadline) return 200;
      throw new PiwError('PIW_UNREACHABLE', `can't connect to ${target}: ${lastFailure}`, { cause: error });
    };
    const nc = await withWaitingReports(report, () =>
      unlessAborted(retry(connect, pauseOrGiveUp, { signal }), signal, (late) => late.close()),
    );
    return new Bus(nc, options, servers);
  }

  /** The cluster's name, or, for a single server, the server's id, which changes when it restarts. */
  get serverIdentity(): string {
    const { cluster, server_id } = this.#nc.info ?? {};
    return cluster === undefined || cluster === '' ? (server_id ?? '') : cluster;
  }

  /** `<prefix>.a.b.c` */
  subject(...tokens: readonly string[]): string {
    return [this.prefix, ...tokens].join('.');
  }

  /**
   * Sends a request and returns its answer. Until patienceMs have passed, it retries when no answer came within
   * timeoutMs (default 5 s), when nobody listens yet, or when the connection broke; so the request must be
   * idempotent. Throws PIW_TIMEOUT, PIW_NO_RESPONDERS or PIW_DISCONNECTED, and, at once, PIW_INTERRUPTED when the
   * signal is aborted.
   */
  async request(subject: string, body: unknown, options: RequestOptions = {}): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? 5000;
    const deadline = performance.now() + Math.max(options.patienceMs ?? 0, timeoutMs);
    const { payload, header } = await this.#encodeBody(body);
    let lastFailure: PiwError | undefined;
    for (;;) {
      const timeout = Math.max(1, Math.min(timeoutMs, deadline - performance.now()));
      try {
        const answer = await this.#requests.send({
          subject,
          payload,
          header,
          timeoutMs: timeout,
          signal: options.signal,
          isRetried: options.once !== true,
        });
        return await this.#decodeBody(answer);
      } catch (error) {
        const failure = requestError(error, subject);
        const pauseMs = failure.code === 'PIW_NO_RESPONDERS' ? 100 : 20;
        const isEnded = this.#abandoned || this.#nc.isClosed();
        const canRetry = !options.once && (failure.code !== 'PIW_DISCONNECTED' || !isEnded);
        if (
          options.signal?.aborted ||
          !canRetry ||
          !RETRYABLE_CODES.has(failure.code) ||
          performance.now() + pauseMs >= deadline
        ) {
          // An attempt cut short by the deadline says less than the one before it.
          const isCutShort = failure.code === 'PIW_TIMEOUT' && timeout < timeoutMs;
          throw isCutShort ? (lastFailure ?? failure) : failure;
        }
        lastFailure = failure;
        await pause(systemClock, pauseMs, options.signal);
      }
    }
  }

  /** Publishes a message without waiting for an answer; it may be lost. */
  async publish(subject: string, body: unknown): Promise<void> {
    const { payload, header } = await this.#encodeBody(body);
    try {
      this.#nc.publish(subject, payload, header ? { headers: header } : {});
    } catch (error) {
      // A connection that has ended, or is about to, drops what is published.
      const failure = busError(error, `publishing on ${subject}`);
      if (failure.code !== 'PIW_DISCONNECTED') throw failure;
    }
  }

  /**
   * Opens a subscription; with `queue`, each message reaches only one member of that queue group. `bucketOf` returns
   * the bucket in which the sender on a subject may have stored a large body; without it, that is the farm's own
   * bucket. Throws PIW_DISCONNECTED if the connection has ended; reading throws PIW_REFUSED if the servers do not
   * permit us to subscribe.
   */
  subscribe(
    subject: string,
    options: { queue?: string; bucketOf?: (subject: string) => string } = {},
  ): BusSubscription {
    const operation = `subscribing to ${subject}`;
    const sub = withBusErrors(operation, () =>
      this.#nc.subscribe(subject, options.queue === undefined ? {} : { queue: options.queue }),
    );
    const toBusMessage = (msg: Msg): BusMessage => ({
      subject: msg.subject,
      expectsReply: msg.reply !== undefined && msg.reply !== '',
      size: msg.data.length,
      body: () => this.#decodeBody(msg, options.bucketOf?.(msg.subject)),
      respond: async (body) => {
        const { payload, header } = await this.#encodeBody(body);
        withBusErrors(`answering on ${msg.subject}`, () =>
          msg.respond(payload, header ? { headers: header } : {}),
        );
      },
    });
    return {
      stop: () => endSubscription(sub, this.#abandoned ? 0 : END_LIMIT_MS),
      async *[Symbol.asyncIterator]() {
        try {
          for await (const msg of sub) yield toBusMessage(msg);
        } catch (error) {
          throw busError(error, operation);
        }
      },
    };
  }

  /**
   * Returns the round-trip time to the server in milliseconds. When it returns, everything published before has reached
   * the server. Throws PIW_DISCONNECTED, or PIW_TIMEOUT after `limitMs`.
   */
  async rtt(limitMs = PING_LIMIT_MS): Promise<number> {
    return await withTimeout(limitMs, this.#nc.rtt(), 'a ping to NATS');
  }

  /** Resolves when the connection has ended for good, with the error that ended it, or undefined. */
  async closed(): Promise<PiwError | undefined> {
    const error = await this.#nc.closed();
    return error ? busError(error, 'the connection to NATS', 'PIW_DISCONNECTED') : undefined;
  }

  /**
   * Prepares for the end of the process: if the server doesn't answer within 2 s, every request, pending or later,
   * throws PIW_DISCONNECTED, and nothing waits for the server from then on.
   */
  async prepareShutdown(): Promise<void> {
    if (await this.#isResponsive()) return;
    this.#abandoned = true;
    this.#requests.close();
  }

  /**
   * Drains the connection for at most `limitMs`, and closes it; closes it at once if prepareShutdown() found that the
   * server does not answer.
   */
  async drain(limitMs = DRAIN_LIMIT_MS): Promise<void> {
    if (this.#nc.isClosed()) return;
    if (!this.#abandoned) await withTimeout(limitMs, this.#nc.drain(), 'draining').catch(() => undefined);
    await this.#nc.close();
  }

  async #isResponsive(): Promise<boolean> {
    return await this.rtt(END_LIMIT_MS).then(
      () => true,
      () => false,
    );
  }

  /** The client library's connection. For src/bus only: leases and object transfers use it. */
  get connection(): NatsConnection {
    return this.#nc;
  }

  async #encodeBody(body: unknown) {
    const bytes = encode(body);
    if (bytes.length <= this.#maxPayloadBytes) return { payload: bytes, header: undefined };
    const header = headers();
    header.set(CLAIM_HEADER, await this.#claims.store(bytes));
    return { payload: new Uint8Array(0), header };
  }

  #decodeBody(msg: Msg, bucket?: string): unknown {
    const claim = claimHeader(msg);
    const limits = bucket === undefined ? TRUSTED_LIMITS : UNTRUSTED_LIMITS;
    if (claim === undefined || claim === '') return decode(msg.data, limits);
    return this.#claims.fetch(claim, bucket).then((body) => decode(body, limits));
  }
}

function withBusErrors<T>(operation: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw busError(error, operation);
  }
}

/**
 * Returns the claim ticket of a message, if it has one. The client library parses headers only when they are read, and
 * then throws an error of its own. Throws PIW_MESSAGE_INVALID for malformed headers.
 */
function claimHeader(msg: Msg): string | undefined {
  try {
    return msg.headers?.get(CLAIM_HEADER);
  } catch (error) {
    throw new PiwError('PIW_MESSAGE_INVALID', `its headers are malformed: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

async function endSubscription(sub: Subscription, limitMs: number): Promise<void> {
  // Without a connection there is nothing to drain; a server that hangs would make the drain wait.
  if (sub.isClosed()) return;
  await withTimeout(limitMs, sub.drain(), 'ending a subscription').catch(() => {
    sub.unsubscribe();
  });
}
