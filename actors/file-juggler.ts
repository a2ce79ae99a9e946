import { randomBytes } from 'node:crypto';
import { steadyTime, systemClock } from '../src/concurrency/clock.js';
import { withTimeLimit } from '../src/concurrency/time-limit.js';
import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { KeyedQueues } from '../src/concurrency/keyed-queues.js';
import { PiwError, hasCode } from '../src/errors.js';
import {
  fileJuggler,
  ownedTransferId,
  juggler,
  parseTransferId,
  transfer,
} from '../src/protocols/file-juggler.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import { fileFromMessage } from '../src/model/file-state.js';
import { ActiveTransfers, type ActiveTransfer } from '../src/transfer/active-transfers.js';
import { DAY_MS } from '../src/units.js';
import { DiskWatch } from '../src/files/disk-watch.js';
import { WheelStore, type TransferVerdict } from '../src/wheels/store.js';
import { TransferBuckets } from './file-juggler/transfer-buckets.js';

type VerifyRequest = Body<typeof fileJuggler.verbs, 'VERIFY'>;
type ChunkAnswer = Answer<typeof transfer.verbs, 'CHUNK'>;

/** Milliseconds after which an idle transfer is suspended; the next HELLO resumes it. */
const TRANSFER_IDLE_MS = 60_000;
/** Returns the NATS user that has sent a message. */
const senderOf = ({ tokens }: MessageOrigin): string => tokens[1] ?? '';

/** Verdicts kept for retries. */
const MAX_CACHED_VERDICTS = 1000;
/**
 * How long reading stored chunks may take, milliseconds; less than the sender's time limit for CHUNK. The server that
 * has them may be gone.
 */
const RECOVERY_LIMIT_MS = 1500;
/**
 * How long CHUNK waits for the bytes that it announces, milliseconds. In a cluster it can overtake them: they come in
 * the slaves' account and CHUNK in the farm's, and the servers may use a route for each.
 */
const LATE_CHUNK_MS = 300;
/** Seconds between checks whether NATS can store large messages again. */
const REPAIR_INTERVAL_S = 5;
/** Seconds between checks whether the buckets in use still exist. */
const BUCKET_CHECK_INTERVAL_S = 60;
/** Seconds between checks whether a full disk has space again. */
const DISK_PROBE_INTERVAL_S = 2;

interface JugglerSettings {
  readonly outputPath: string;
  /** What happens to a rebuilt wheel whose filename is taken by a file with other contents. */
  readonly onDuplicateFilename: 'refuse' | 'tag-removed' | 'tag';
}

/** A sender that has said HELLO here, and for which transfer: its CHUNKs belong to that one. */
interface SenderSession {
  id: string;
  lastSeen: number;
  readonly close: () => Promise<void>;
}

/**
 * Receives the files of slaves and importers, and publishes them. For each file:
 *
 *   EXPECT   (from the Slave Driver or Mr Chase) records on the disk which file will come, and from whom; the
 *            juggler that gets it owns the transfer for as long as that juggler lives
 *   HELLO    (from the sender) from now on the transfer's chunks are written as they pass. The answer is the
 *            first range that is missing: at first the whole file
 *   CHUNK    a segment has been sent: its chunks passed before this message did, so they are already
 *            written, or lost. The answer is the next missing range, or DONE
 *   VERIFY   (from the sender of EXPECT) checks digest and contents, then publishes the file. Until that has
 *            succeeded, or the file is known to be useless, everything that has arrived is kept
 *   FORGET   (from the sender of EXPECT) the file is no longer wanted
 *   UNSTORED (from the sender) NATS doesn't store its chunks: its bucket is repaired
 *
 * Bytes go to the disk as they come, and which ranges are there is recorded beside them before CHUNK is
 * answered. So when the sender, the juggler or NATS fails, the sender says HELLO again, to any juggler, and
 * only the missing parts are sent: the last chunks that passed while nobody listened are read from NATS,
 * which has kept them for a minute, and the rest is requested; a small file is sent again in full. A HELLO, VERIFY or FORGET that
 * reaches a juggler that doesn't own the transfer is forwarded to the owner; when the owner is gone, the transfer
 * is taken over.
 *
 * GETSTAMP, RESERVE and REMOVE are about files that are already published: see protocols/file-juggler.ts.
 */
export class FileJuggler extends Actor {
  readonly #instanceId = randomBytes(8).toString('hex');
  readonly #store: WheelStore;
  readonly #transfers: ActiveTransfers;
  readonly #buckets: TransferBuckets;
  /** Operations on one transfer run in sequence, except the writing of its chunks. */
  readonly #queues = new KeyedQueues<string>();
  readonly #sessions = new Map<string, SenderSession>();
  readonly #verdicts = new Map<string, TransferVerdict>();
  readonly #diskWatch: DiskWatch;

  /** The time of day, unaffected when somebody sets the system's clock: for the age of files. */
  readonly #steadyTime: () => number;

  constructor(context: ActorContext, settings: JugglerSettings) {
    super(context);
    this.#steadyTime = steadyTime(this.clock);
    this.#store = new WheelStore(settings.outputPath, this.#instanceId, {
      published: settings.onDuplicateFilename === 'tag',
      removed: settings.onDuplicateFilename !== 'refuse',
    });
    this.#diskWatch = new DiskWatch(
      settings.outputPath,
      ({ kind, text }) => {
        this.conditions.raise(kind, settings.outputPath, text);
      },
      ({ kind }) => {
        this.conditions.clear(kind, settings.outputPath);
      },
    );
    this.#buckets = new TransferBuckets(this.bus, this.log, this.conditions);
    this.#transfers = new ActiveTransfers(this.bus.objects, this.#store.staging, this.clock, (error) => {
      this.#diskWatch.noteFailure(error);
    });
  }

  override async start(): Promise<void> {
    await this.#store.setUp();
    await this.runInBackground(() => this.#buckets.replaceOld());
    this.serve(
      transfer,
      {
        HELLO: ({ transfer_id }, from) => {
          const [, user = '', session = ''] = from.tokens;
          return this.#hello(transfer_id, user, session);
        },
      },
      { tokens: ['slave', '*', '*', transfer.name], verb: 'HELLO', senderOf },
    );
    this.serve(
      transfer,
      {
        UNSTORED: async (_, from) => {
          await this.#buckets.repair(senderOf(from));
          return { verb: 'DONE' };
        },
      },
      { tokens: ['slave', '*', '*', transfer.name], verb: 'UNSTORED', senderOf },
    );
    this.serve(
      juggler,
      {
        HELLO: ({ transfer_id, user, session }) => this.#hello(transfer_id, user, session),
        VERIFY: (request) => this.#verify(request),
        FORGET: ({ transfer_id }) => this.#forget(transfer_id),
      },
      { tokens: [juggler.name, this.#instanceId], queue: null },
    );
    this.serve(fileJuggler, {
      EXPECT: async ({ transfer_id, sender, file_state }) => {
        await this.#buckets.ensure(sender);
        const expected = { transferId: transfer_id, sender, file: fileFromMessage(file_state) };
        await this.#diskWatch.during(() => this.#store.staging.expect(expected, this.#steadyTime()));
        this.#verdicts.delete(transfer_id);
        const owner = this.#store.staging.owner(transfer_id) ?? this.#instanceId;
        return { verb: 'EXPECTED', transfer_id: ownedTransferId(transfer_id, owner) };
      },
      VERIFY: (request) => this.#verify(request),
      FORGET: ({ transfer_id }) => this.#forget(transfer_id),
      GETSTAMP: ({ package: name, filename }) => ({
        verb: 'STAMP',
        file_stamp: this.#store.fileStamp(name, filename) ?? null,
      }),
      RESERVE: async ({ package: name, filename }) => ({
        verb: 'STAMP',
        file_stamp: (await this.#store.reserve(name, filename)) ?? null,
      }),
      REMOVE: async ({ package: name, filename, stamp }) => {
        const verb = await this.#store.remove(name, filename, stamp);
        const event =
          verb === 'DONE' ? 'file removed' : 'file kept: it was published or reserved again in the meantime';
        this.log.info(event, { package: name, file: filename });
        return { verb };
      },
      STATVFS: async () => ({ verb: 'STATVFS', ...(await this.#store.diskSpace()) }),
    });
    this.every(REPAIR_INTERVAL_S, () => this.#buckets.repairBroken());
    this.every(DISK_PROBE_INTERVAL_S, () => this.#diskWatch.probe(), DISK_PROBE_INTERVAL_S);
    this.every(BUCKET_CHECK_INTERVAL_S, () => this.#buckets.check(), BUCKET_CHECK_INTERVAL_S);
    this.every(TRANSFER_IDLE_MS / 2000, () => this.#suspendIdle());
    this.every(3600, () => this.#sweep());
  }

  protected override async onStopped(): Promise<void> {
    for (const id of this.#transfers.ids()) await this.#queues.run(id, () => this.#suspend(id));
  }

  #hello(transferId: string, user: string, session: string): Promise<ChunkAnswer> {
    const { id } = parseTransferId(transferId);
    return this.#queues.run(id, async () => {
      const isOwnedHere = this.#store.staging.owner(id) === this.#instanceId;
      const forwarded = await this.#forward(transferId, (client) =>
        client.request(
          'HELLO',
          { transfer_id: transferId, user, session },
          { timeoutMs: 15_000, once: true },
        ),
      );
      if (forwarded) return forwarded;
      const existing = this.#transfers.get(id);
      const active = await this.#transfers.open(id, user, this.#buckets.nameOf(user));
      this.#serveSession(user, session, id);
      // Chunks that passed while nobody listened are read before anything is requested again.
      if (existing || !isOwnedHere || active.incoming.state.received > 0) {
        if (await this.#buckets.ensure(user, true)) await this.#recover(active);
      }
      return this.#nextAnswer(active);
    });
  }

  /**
   * Serves the CHUNKs of a session. CHUNK carries no transfer id: it belongs to the transfer of the session's
   * last HELLO. So this juggler watches all HELLOs of the session. After one for another juggler's transfer, it
   * stops serving the session, because that juggler answers from then on.
   */
  #serveSession(user: string, session: string, id: string): void {
    const key = `${user}.${session}`;
    const lastSeen = this.clock.monotonicMs();
    const existing = this.#sessions.get(key);
    if (existing?.id === id) {
      existing.lastSeen = lastSeen;
      return;
    }
    // A file has one sender: one that has restarted no longer uses its former session.
    for (const [otherKey, other] of this.#sessions) if (other.id === id) this.#closeSession(otherKey);
    if (existing) {
      Object.assign(existing, { id, lastSeen });
      return;
    }
    const close = this.serve(
      transfer,
      {
        // Only watched here; the HELLO of start() answers it.
        HELLO: ({ transfer_id }) => {
          const parts = parseTransferId(transfer_id);
          if ((this.#store.staging.owner(parts.id) ?? parts.juggler) !== this.#instanceId)
            this.#closeSession(key);
          return undefined;
        },
        CHUNK: ({ offset, length }) => {
          const current = this.#sessions.get(key);
          return current ? this.#chunk(current, offset, length) : undefined;
        },
        // Not answered here: in start(), any juggler answers it.
        UNSTORED: () => undefined,
      },
      { tokens: ['slave', user, session, transfer.name], queue: null, senderOf },
    );
    this.#sessions.set(key, { id, lastSeen, close });
  }

  /** Stops serving a session. */
  #closeSession(key: string): void {
    const session = this.#sessions.get(key);
    this.#sessions.delete(key);
    if (session) void this.runInBackground(session.close);
  }

  async #chunk(session: SenderSession, offset: number, length: number): Promise<ChunkAnswer> {
    const { id } = session;
    session.lastSeen = this.clock.monotonicMs();
    const active = this.#transfers.get(id);
    if (!active) throw new PiwError('PIW_UNREACHABLE', 'this transfer was suspended; say HELLO again');
    if (!(await active.whenArrived(systemClock, offset, length, LATE_CHUNK_MS))) await this.#recover(active);
    return this.#nextAnswer(active);
  }

  /** Reads the missing chunks that NATS has kept. Those that it does not return in time are requested from the sender. */
  async #recover(active: ActiveTransfer): Promise<void> {
    try {
      await withTimeLimit(systemClock, RECOVERY_LIMIT_MS, active.recover());
    } catch (error) {
      if (!hasCode(error, 'PIW_OBJECT_BROKEN')) throw error;
      this.log.warning('stored chunks not readable', { transfer: active.incoming.transferId }, error);
    }
  }

  #nextAnswer(active: ActiveTransfer): ChunkAnswer {
    const range = active.nextRange();
    active.lastSeen = this.clock.monotonicMs();
    if (!range) return { verb: 'DONE' };
    return { verb: 'FETCH', offset: range.start, length: range.end - range.start };
  }

  /**
   * Forwards a request to the owner of a transfer; returns undefined if this process is the owner. Takes the
   * transfer over if its owner is gone. Throws PIW_UNKNOWN_TRANSFER if no record of it is left.
   */
  async #forward<A>(
    transferId: string,
    send: (client: ProtocolClient<typeof juggler.verbs>) => Promise<A>,
  ): Promise<A | undefined> {
    const { id, juggler: namedOwner } = parseTransferId(transferId);
    const owner = this.#store.staging.owner(id) ?? namedOwner;
    if (owner === this.#instanceId) return undefined;
    try {
      if (owner !== undefined)
        return await send(new ProtocolClient(this.bus, juggler, [juggler.name, owner]));
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_NO_RESPONDERS') throw error;
    }
    // The named owner may have lost the transfer to another juggler in the meantime.
    const formerOwner = this.#store.staging.owner(id);
    if (formerOwner === undefined)
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${id} is expected`);
    this.log.info('transfer taken over', { transfer: id });
    await this.#store.staging.takeOver(id, formerOwner);
    return undefined;
  }

  #verify(request: VerifyRequest): Promise<TransferVerdict> {
    const transferId = request.transfer_id;
    const { id } = parseTransferId(transferId);
    return this.#queues.run(id, async () => {
      const cached = this.#verdicts.get(id);
      if (cached) return cached;
      const forwarded = await this.#forward(transferId, (client) =>
        client.request('VERIFY', request, { timeoutMs: 30_000, once: true }),
      );
      return forwarded ?? (await this.#publish(id, request));
    });
  }

  async #publish(id: string, { package: name, rebuilt, past }: VerifyRequest): Promise<TransferVerdict> {
    const active = this.#transfers.get(id);
    await active?.cancelRecovery();
    await active?.whenWritten();
    const verdict = await this.#store.verify(id, name, active?.incoming, rebuilt, past);
    if (verdict.verb === 'LATER') {
      if (active) active.lastSeen = this.clock.monotonicMs();
      this.#diskWatch.noteFailure(PiwError.fromAnswer(verdict.code, verdict.reason));
      return verdict;
    }
    // The file that is in the way may be gone at the next attempt, so this one is kept until FORGET.
    if (verdict.verb === 'TAKEN' || (verdict.verb === 'REFUSED' && verdict.code === 'PIW_FILE_EXISTS')) {
      if (active) active.lastSeen = this.clock.monotonicMs();
      return verdict;
    }
    await this.#suspend(id);
    if (verdict.verb === 'AGAIN') {
      // The damage may be in the chunks that NATS has stored.
      await active?.removeStored();
      return verdict;
    }
    this.#verdicts.set(id, verdict);
    for (const oldest of this.#verdicts.keys()) {
      if (this.#verdicts.size <= MAX_CACHED_VERDICTS) break;
      this.#verdicts.delete(oldest);
    }
    if (verdict.verb === 'VERIFIED')
      this.log.info('wheel published', { package: name, file: verdict.filename });
    if (active) {
      // Nobody waits for this.
      void this.runInBackground(() => active.removeStored());
    }
    return verdict;
  }

  #forget(transferId: string): Promise<{ verb: 'DONE' }> {
    const { id } = parseTransferId(transferId);
    return this.#queues.run(id, async () => {
      if (this.#store.staging.isExpected(id) || parseTransferId(transferId).juggler !== this.#instanceId) {
        const forwarded = await this.#forward(transferId, (client) =>
          client.request('FORGET', { transfer_id: transferId }, { timeoutMs: 10_000, once: true }),
        );
        if (forwarded) return forwarded;
      }
      const active = await this.#suspend(id);
      await this.#store.staging.forget(id);
      await active?.removeStored();
      return { verb: 'DONE' };
    });
  }

  /** Suspends a transfer: saves which ranges have arrived, and stops writing to it. */
  async #suspend(id: string): Promise<ActiveTransfer | undefined> {
    const suspended = await this.#transfers.suspend(id);
    if (!suspended) return undefined;
    const { transfer: active, error } = suspended;
    const { filename } = active.incoming.file;
    if (error) this.log.warning('transfer suspended with an error', { transfer: id, file: filename }, error);
    return active;
  }

  async #suspendIdle(): Promise<void> {
    const cutoff = this.clock.monotonicMs() - TRANSFER_IDLE_MS;
    for (const id of this.#transfers.idleSince(cutoff)) await this.#queues.run(id, () => this.#suspend(id));
    for (const [key, { lastSeen }] of this.#sessions) if (lastSeen < cutoff) this.#closeSession(key);
    await this.#transfers.suspendIdleSubscriptions();
  }

  /** Removes transfers whose sender has been away for a day. */
  async #sweep(): Promise<void> {
    for (const { transferId } of await this.#store.staging.sweep(DAY_MS, this.#steadyTime())) {
      this.log.info('transfer abandoned: its sender never came back', { transfer: transferId });
      await this.#queues.run(transferId, () => this.#suspend(transferId));
    }
  }
}
