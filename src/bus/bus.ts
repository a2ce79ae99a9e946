import { accessSync, constants } from 'node:fs';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import {
  ErrorCode as NatsErrorCode,
  NatsError,
  headers,
  nkeyAuthenticator,
  type ConnectionOptions,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  type Subscription,
} from 'nats';
import { PiwError, errorMessage } from '../errors.js';
import { parseAddress, redactAddress } from './address.js';
import { ClaimStore } from './claims.js';
import { TRUSTED_LIMITS, UNTRUSTED_LIMITS, decode, encode } from './codec.js';
import { busError, natsErrorCode, withTimeout } from './errors.js';
import { publicKeyOf } from './nkey.js';
import { ObjectStore } from './objects.js';
import { withWaitingReports } from './waiting.js';
import { connectNats } from './wire.js';

/** Files in PEM. With any of them, or a tls:// address, a server without TLS is refused. */
export interface TlsFiles {
  /** Who vouches for the servers; without it, those whom the system trusts. */
  readonly ca?: string;
  /** Who we are, where the servers want to know: a certificate and its key. */
  readonly cert?: string;
  readonly key?: string;
}

export interface BusOptions {
  /** See parseAddress. */
  readonly address: string;
  /** The seed of our nkey, in the place of what the address says of us. */
  readonly seed?: string;
  readonly tls?: TlsFiles;
  /** What the connection is called in the server's own lists. */
  readonly name: string;
  /** The first token of every subject of this farm. */
  readonly prefix?: string;
  /** Where the bodies go that are too large for a message. */
  readonly bucket?: string;
  /** The first tokens of this user's inboxes; its permissions may name them. */
  readonly inboxPrefix?: string;
  /** How long the first connection is tried, milliseconds. */
  readonly patienceMs?: number;
  /** Gives up the first connection. */
  readonly signal?: AbortSignal;
  /** Told what the first connection waits for, after two seconds and then at intervals. */
  readonly onWaiting?: (text: string) => void;
  readonly onStatus?: (text: string, connected: boolean) => void;
}

export interface RequestOptions {
  /** How long one question waits for its answer, milliseconds. */
  readonly timeoutMs?: number;
  /** How long in all, with the question put again; not below timeoutMs. */
  readonly patienceMs?: number;
  /** It is put once, and what breaks is raised. */
  readonly once?: boolean;
  readonly signal?: AbortSignal;
}

/** A message that has arrived. */
export interface BusMessage {
  readonly subject: string;
  /** It wants an answer. */
  readonly expectsReply: boolean;
  /** Bytes of it that have come. */
  readonly size: number;
  /** Its body; a promise where it has to be fetched. Raises PIW_MESSAGE_INVALID. */
  body(): unknown;
  respond(body: unknown): Promise<void>;
}

/** An open subscription: read it with `for await`; stop() lets what has arrived be read first. */
export interface BusSubscription extends AsyncIterable<BusMessage> {
  stop(): Promise<void>;
}

const CLAIM_HEADER = 'Piw-Claim';
/** Left of max_payload for the headers of a message. */
const HEADER_RESERVE_BYTES = 4096;
/** A server that answers a ping no sooner than this is away, milliseconds. */
const PING_LIMIT_MS = 5000;
/** How often it is pinged, and how late an answer is told as none. */
const PING_INTERVAL_MS = 2000;
const PONG_TIMEOUT_MS = 4000;
/** How long it may take to end a subscription, or the connection, while the server answers nothing. */
const END_LIMIT_MS = 2000;
const DRAIN_LIMIT_MS = 5000;

/**
 * The one adapter around NATS. It connects, and reconnects for as long as the process lives; asks
 * with a limit; carries bodies of any size; and turns every error into one of piw's: whatever of it is
 * called, awaited or iterated throws PiwErrors and nothing else, in any state of the connection.
 *
 * While the connection is down, what is published is lost and what is asked waits and is asked
 * again: an answer that was lost with the connection is not waited for until its time is up.
 */
export class Bus {
  readonly prefix: string;
  readonly objects: ObjectStore;
  readonly #nc: NatsConnection;
  readonly #claims: ClaimStore;
  readonly #maxPayloadBytes: number;
  /** How to give up each question that is under way. */
  readonly #pendingRequests = new Set<(error: Error) => void>();
  /** The server doesn't answer, and the process is about to end. */
  #abandoned = false;

  private constructor(nc: NatsConnection, options: BusOptions) {
    this.#nc = nc;
    this.prefix = options.prefix ?? 'piw';
    this.objects = new ObjectStore(nc);
    this.#maxPayloadBytes = (nc.info?.max_payload ?? 1024 * 1024) - HEADER_RESERVE_BYTES;
    this.#claims = new ClaimStore(
      this.objects,
      options.bucket ?? `${this.prefix}-claims`,
      options.bucket !== undefined,
    );
    void this.#monitorConnection(options.onStatus ?? (() => undefined));
  }

  /**
   * Throws PIW_UNREACHABLE when there is no connection within patienceMs (default 10 s), and at once
   * where the servers refuse us or we don't trust them; PIW_CONFIG for a key or a file that can't be used;
   * PIW_INTERRUPTED when the signal is aborted.
   */
  static async connect(options: BusOptions): Promise<Bus> {
    const { signal, onWaiting } = options;
    const { servers } = parseAddress(options.address);
    const security = { ...authOptions(options), ...tlsOptions(options) };
    const target = `NATS at ${redactAddress(options.address)}`;
    const deadline = performance.now() + (options.patienceMs ?? 10_000);
    let lastFailure = 'no answer yet';
    const report = (): void => {
      const secondsLeft = Math.max(0, Math.ceil((deadline - performance.now()) / 1000));
      onWaiting?.(`waiting for ${target} (${lastFailure}); giving up in ${String(secondsLeft)} s`);
    };
    return await withWaitingReports(report, async () => {
      for (;;) {
        try {
          const connecting = connectNats({
            servers: [...servers],
            name: options.name,
            ...security,
            ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
            maxReconnectAttempts: -1,
            reconnectTimeWait: 200,
            reconnectJitter: 200,
            pingInterval: 10_000,
            maxPingOut: 2,
            timeout: 5000,
            // A stack for each question costs more than the question.
            noAsyncTraces: true,
            ignoreClusterUpdates: servers.length === 1,
          });
          return new Bus(await unlessAborted(connecting, signal, (nc) => nc.close()), options);
        } catch (error) {
          if (error instanceof PiwError) throw error;
          const permanentReason = permanentFailureReason(error);
          lastFailure = permanentReason ?? causeOf(error);
          if (permanentReason !== undefined || performance.now() > deadline)
            throw new PiwError('PIW_UNREACHABLE', `${target} can't be used: ${lastFailure}`, {
              cause: error,
            });
          await unlessAborted(sleep(200), signal);
        }
      }
    });
  }

  /** Which NATS this is, in its own words: the cluster's name, or the server's id, which a restart changes. */
  get serverIdentity(): string {
    const { cluster, server_id } = this.#nc.info ?? {};
    return cluster === undefined || cluster === '' ? (server_id ?? '') : cluster;
  }

  /** `<prefix>.a.b.c` */
  subject(...tokens: readonly string[]): string {
    return [this.prefix, ...tokens].join('.');
  }

  /**
   * Puts a question and gives its answer. It is put again when no answer came within timeoutMs
   * (default 5 s), when nobody listens yet, or when the connection broke, until patienceMs are over.
   * So it must be safe to ask twice. Raises PIW_TIMEOUT, PIW_NO_RESPONDERS, PIW_DISCONNECTED; and, at once,
   * PIW_INTERRUPTED when the signal is aborted.
   */
  async request(subject: string, body: unknown, options: RequestOptions = {}): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? 5000;
    const deadline = performance.now() + Math.max(options.patienceMs ?? 0, timeoutMs);
    const { payload, header } = await this.#encodeBody(body);
    for (;;) {
      try {
        const timeout = Math.max(1, Math.min(timeoutMs, deadline - performance.now()));
        const answer = await this.#requestOnce(subject, payload, timeout, header, options.signal);
        return await this.#decodeBody(answer);
      } catch (error) {
        const failure = requestError(error, subject);
        const pause = failure.code === 'PIW_NO_RESPONDERS' ? 100 : 20;
        const isEnded = this.#abandoned || this.#nc.isClosed();
        const canRetry = !options.once && (failure.code !== 'PIW_DISCONNECTED' || !isEnded);
        if (
          options.signal?.aborted ||
          !canRetry ||
          !RETRYABLE_CODES.has(failure.code) ||
          performance.now() + pause >= deadline
        )
          throw failure;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** Says something that nobody answers, and that may be lost. */
  async publish(subject: string, body: unknown): Promise<void> {
    const { payload, header } = await this.#encodeBody(body);
    try {
      this.#nc.publish(subject, payload, header ? { headers: header } : {});
    } catch (error) {
      // A connection that has ended, or is about to, says nothing any more.
      const failure = busError(error, `publishing on ${subject}`);
      if (failure.code !== 'PIW_DISCONNECTED') throw failure;
    }
  }

  /**
   * Opens a subscription; with `queue`, each message reaches only one of the group. `bucketOf` says
   * which bucket the sender on a subject may have put a large body into; without it, the farm's own.
   * Throws PIW_DISCONNECTED when the connection has ended; reading throws PIW_REFUSED where the servers don't let us
   * listen.
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
   * Returns the round trip to the server in milliseconds: everything published before has reached it.
   * Throws PIW_DISCONNECTED, or PIW_TIMEOUT after `limitMs`.
   */
  async rtt(limitMs = PING_LIMIT_MS): Promise<number> {
    return await withTimeout(limitMs, this.#nc.rtt(), 'a ping to NATS');
  }

  /** Resolves when the connection has ended for good: undefined, or why. */
  async closed(): Promise<PiwError | undefined> {
    const error = await this.#nc.closed();
    return error ? busError(error, 'the connection to NATS', 'PIW_DISCONNECTED') : undefined;
  }

  /**
   * Prepares for the end of the process: when the server doesn't answer within 2 s, everything that is asked, now or
   * later, throws PIW_DISCONNECTED, and nothing waits for the server any more.
   */
  async prepareShutdown(): Promise<void> {
    if (await this.#isResponsive()) return;
    this.#abandoned = true;
    this.#rejectPendingRequests();
  }

  /** Finishes what is under way, for at most `limitMs`, and ends the connection: at once if nothing answers. */
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

  #rejectPendingRequests(): void {
    const error = new PiwError('PIW_DISCONNECTED', 'the connection to NATS broke');
    for (const giveUp of this.#pendingRequests) giveUp(error);
  }

  /** For src/bus only: what leases and object transfers are made of. */
  get connection(): NatsConnection {
    return this.#nc;
  }

  /** One question; an answer that was lost with the connection is not waited for. */
  #requestOnce(
    subject: string,
    payload: Uint8Array,
    timeout: number,
    header: MsgHdrs | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Msg> {
    return new Promise((resolve, reject) => {
      const cleanUp = (): void => {
        this.#pendingRequests.delete(fail);
        signal?.removeEventListener('abort', abort);
      };
      const abort = (): void => {
        fail(new PiwError('PIW_INTERRUPTED', `the question on ${subject} was given up`));
      };
      const fail = (error: unknown): void => {
        cleanUp();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
        reject(error);
      };
      this.#pendingRequests.add(fail);
      if (this.#abandoned) {
        fail(new PiwError('PIW_DISCONNECTED', 'the connection to NATS is down'));
        return;
      }
      if (signal?.aborted) {
        abort();
        return;
      }
      signal?.addEventListener('abort', abort, { once: true });
      this.#nc
        .request(subject, payload, { timeout, ...(header ? { headers: header } : {}) })
        .then((answer) => {
          cleanUp();
          resolve(answer);
        }, fail);
    });
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

  /**
   * Tells when the server is away and when it is back. Answers to whatever was asked before are not waited for then:
   * who was to give them may have gone, or never have heard the question.
   */
  async #monitorConnection(onStatus: (text: string, connected: boolean) => void): Promise<void> {
    let away = false;
    const changeStatus = (text: string, connected: boolean) => {
      away = !connected;
      onStatus(text, connected);
      this.#rejectPendingRequests();
    };
    // A server that hangs keeps its connections: the client library takes half a minute to notice.
    const ping = async () => {
      const pongTimer = setTimeout(() => {
        if (!this.#nc.isClosed()) changeStatus('NATS does not answer', false);
      }, PONG_TIMEOUT_MS).unref();
      try {
        await this.#nc.rtt();
        if (away) changeStatus('NATS answers again', true);
      } catch {
        // The connection broke, which is told below.
      }
      clearTimeout(pongTimer);
      if (!this.#nc.isClosed()) setTimeout(() => void ping(), PING_INTERVAL_MS).unref();
    };
    void ping();
    for await (const { type } of this.#nc.status()) {
      const event: string = type;
      if (event === 'disconnect') changeStatus('the connection to NATS broke', false);
      if (event === 'reconnect') changeStatus('connected to NATS again', true);
    }
  }
}

/** Throws PIW_INTERRUPTED as soon as the signal is aborted; what `promise` resolves with later is disposed of. */
async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  dispose: (late: T) => unknown = () => undefined,
): Promise<T> {
  if (!signal) return await promise;
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      promise.then(dispose, () => undefined);
      reject(new PiwError('PIW_INTERRUPTED', 'the connection to NATS was given up'));
    };
  });
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** How the server learns who is connecting. */
function authOptions({ address, seed }: BusOptions): ConnectionOptions {
  const natsAddress = parseAddress(address);
  const key = seed ?? natsAddress.seed;
  if (key !== undefined) {
    publicKeyOf(key);
    return { authenticator: nkeyAuthenticator(new TextEncoder().encode(key)) };
  }
  const { user, pass } = natsAddress;
  return { ...(user === undefined ? {} : { user }), ...(pass === undefined ? {} : { pass }) };
}

/** Its files are read at each connection, so that a certificate may be renewed meanwhile. */
function tlsOptions({ address, tls = {} }: BusOptions): ConnectionOptions {
  const { ca, cert, key } = tls;
  if ((cert === undefined) !== (key === undefined))
    throw new PiwError('PIW_CONFIG', 'tls-cert and tls-key are of no use without each other');
  for (const file of [ca, cert, key]) if (file !== undefined) assertReadable(file);
  const natsAddress = parseAddress(address);
  if (!natsAddress.tls && ca === undefined && cert === undefined) return {};
  return {
    tls: {
      ...(ca === undefined ? {} : { caFile: ca }),
      ...(cert === undefined ? {} : { certFile: cert }),
      ...(key === undefined ? {} : { keyFile: key }),
      ...{ checkServerIdentity: serverIdentityCheck(natsAddress.servers) },
    },
  };
}

/**
 * The client library doesn't say which server it means where that is an IP address, and Node takes
 * `localhost` instead. Then the certificate has to be that of one of our servers.
 */
function serverIdentityCheck(servers: readonly string[]) {
  const hosts = servers.map((server) => server.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
  const addresses = hosts.filter((host) => isIP(host) !== 0);
  return (host: string, certificate: PeerCertificate): Error | undefined => {
    const unnamed = host === 'localhost' && !hosts.includes(host) && addresses.length > 0;
    const faults = (unnamed ? addresses : [host]).map((one) => checkServerIdentity(one, certificate));
    return faults.includes(undefined) ? undefined : faults[0];
  };
}

function assertReadable(file: string): void {
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    throw new PiwError('PIW_CONFIG', `${file} can't be read: ${errorMessage(error)}`, { cause: error });
  }
}

/** Why it is of no use to try again; undefined where it may be. */
function permanentFailureReason(error: unknown): string | undefined {
  const code = natsErrorCode(error);
  if (code === AUTHORIZATION_VIOLATION) return 'it refuses these credentials';
  const cause = error instanceof NatsError ? (error.chainedError ?? error) : error;
  const causeCode = (cause as { code?: unknown } | undefined)?.code;
  return typeof causeCode === 'string' && CERTIFICATE_ERROR_PATTERN.test(causeCode)
    ? `its certificate is not trusted: ${errorMessage(cause)}`
    : undefined;
}

/** What went wrong below the client library, whose own text is a code. */
function causeOf(error: unknown): string {
  return errorMessage(error instanceof NatsError ? (error.chainedError ?? error) : error);
}

const AUTHORIZATION_VIOLATION: string = NatsErrorCode.AuthorizationViolation;
/** What OpenSSL and Node say of a certificate that won't do. */
const CERTIFICATE_ERROR_PATTERN = /CERT|UNABLE_TO_|SELF_SIGNED|ALTNAME/;

const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  'PIW_TIMEOUT',
  'PIW_NO_RESPONDERS',
  'PIW_DISCONNECTED',
]);

function requestError(error: unknown, subject: string): PiwError {
  const failure = busError(error, `asking on ${subject}`);
  if (failure === error) return failure;
  if (failure.code === 'PIW_NO_RESPONDERS') return new PiwError(failure.code, `nobody answers on ${subject}`);
  if (failure.code === 'PIW_TIMEOUT') return new PiwError(failure.code, `no answer on ${subject} in time`);
  return failure;
}

function withBusErrors<T>(operation: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw busError(error, operation);
  }
}

/** Headers are read when they are looked at, and then the client library raises an error of its own. */
function claimHeader(msg: Msg): string | undefined {
  try {
    return msg.headers?.get(CLAIM_HEADER);
  } catch (error) {
    throw new PiwError('PIW_MESSAGE_INVALID', `its headers are none: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

async function endSubscription(sub: Subscription, limitMs: number): Promise<void> {
  // With the connection gone there is nothing left to drain; a server that hangs would be waited for.
  if (sub.isClosed()) return;
  await withTimeout(limitMs, sub.drain(), 'ending a subscription').catch(() => {
    sub.unsubscribe();
  });
}
