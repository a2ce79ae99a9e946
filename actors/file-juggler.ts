import { randomBytes } from 'node:crypto';
import { steadyTime } from '../src/actor/clock.js';
import { Actor, type ActorContext, type From } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { DAY_MS, type Chunk } from '../src/bus/objects.js';
import { PiwError, isDiskTrouble } from '../src/errors.js';
import {
  bucketFor,
  bucketOf,
  fileSystem,
  inHandsOf,
  juggler,
  partsOf,
  transfer,
  transferOf,
} from '../src/protocols/file-juggler.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import { fileFromMessage } from '../src/states/file-state.js';
import { SMALL } from '../src/states/transfer-state.js';
import type { Arriving } from '../src/wheels/arriving.js';
import { DiskWatch } from '../src/wheels/disk-watch.js';
import { WheelStore, type Verdict } from '../src/wheels/store.js';
import { Lines, type Line } from './file-juggler/lines.js';

type Verify = Body<typeof fileSystem.verbs, 'VERIFY'>;
type Next = Answer<typeof transfer.verbs, 'CHUNK'>;

/** A transfer that nothing comes for so long is laid down; the next HELLO takes it up again. */
const IDLE_MS = 60_000;
/** How many files one user may send at once, to one process: each takes two descriptors and a subscription. */
const AT_ONCE = 256;
const senderOf = ({ tokens }: From): string => tokens[1] ?? '';

/** Of so many objects of a transfer the metadata is removed at once; of more, it expires. */
const OBJECTS = 1000;
/** How many verdicts are kept for those who ask again. */
const VERDICTS = 1000;
/** Seconds between checks whether NATS stores again what it did not store. */
const REPAIR_S = 5;
/** How often what NATS has of small files that are over is removed, seconds: of all of a bucket at once. */
const REMOVE_S = 1;
/** How often it looks whether a full disk has room again, seconds. */
const PROBE_S = 2;

export interface JugglerSettings {
  readonly outputPath: string;
  /** What becomes of a wheel that was built again, where other bytes have its name. */
  readonly rebuilt: 'refuse' | 'tag-removed' | 'tag';
}

/** One transfer in these hands: its file, and the loop that writes what comes of it. */
interface Reading {
  readonly arriving: Arriving;
  readonly bucket: string;
  readonly line: Line;
  /** The objects that something came of, of a large file. */
  readonly objects: Set<string>;
  lastSeen: number;
  failure: Error | undefined;
  /** What is being looked for among what is stored. */
  recovering: Promise<void> | undefined;
}

/** A sender that has said HELLO here, and of which transfer: its CHUNKs are of that one. */
interface Session {
  id: string;
  lastSeen: number;
  readonly close: () => Promise<void>;
}

/**
 * Takes the files of slaves and importers to their place. For each file:
 *
 *   EXPECT   (from the Slave Driver or Mr Chase) notes on the disk what will come, and from whom; whichever
 *            juggler gets it has the transfer in its hands for as long as it lives
 *   HELLO    (from the sender) the transfer's chunks are written from now on, as they pass; the answer is the
 *            first range that isn't there: all of it at first
 *   CHUNK    a piece has been sent: it has passed before this message did, so it is written by now, or it
 *            got lost; the answer is the next range that is missing, or DONE
 *   VERIFY   (from whoever said EXPECT) digest, contents, then the file is published. Until that has succeeded, or
 *            the file is known to be of no use, everything that has arrived of it stays
 *
 * Bytes go to the disk as they come, and what is there is noted beside them before CHUNK is answered. So when
 * the sender, the juggler or NATS breaks off, the sender says HELLO again, to any juggler, and only what is
 * missing is sent: what passed while nobody listened is read from NATS, which has stored it, and the rest is
 * asked for; a small file is sent again whole. A HELLO or VERIFY that reaches a juggler who hasn't the transfer
 * is handed on to the one who has it; when that one is gone, the transfer is taken over.
 */
export class FileJuggler extends Actor {
  readonly #me = randomBytes(8).toString('hex');
  readonly #store: WheelStore;
  readonly #readings = new Map<string, Reading>();
  /** What is done with one transfer is done one after the other, but for its chunks. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #sessions = new Map<string, Session>();
  readonly #lines: Lines;
  /** Buckets in which something is left of small files that are over. */
  readonly #leftIn = new Set<string>();
  readonly #buckets = new Set<string>();
  /** Buckets in which NATS stores nothing, as far as is known. */
  readonly #unstored = new Set<string>();
  readonly #verdicts = new Map<string, Verdict>();
  readonly #disk: DiskWatch;

  /** For the age of files. */
  readonly #now: () => number;

  constructor(context: ActorContext, settings: JugglerSettings) {
    super(context);
    this.#now = steadyTime(this.clock);
    this.#store = new WheelStore(settings.outputPath, this.#me, {
      published: settings.rebuilt === 'tag',
      removed: settings.rebuilt !== 'refuse',
    });
    this.#disk = new DiskWatch(
      settings.outputPath,
      ({ kind, text }) => {
        this.conditions.raise(kind, settings.outputPath, text);
      },
      ({ kind }) => {
        this.conditions.clear(kind, settings.outputPath);
      },
    );
    this.#lines = new Lines(this.bus.objects, (bucket, chunk) => {
      const reading = this.#readings.get(transferOf(chunk.object));
      if (reading?.bucket === bucket) this.#write(reading, chunk);
    });
  }

  override async start(): Promise<void> {
    await this.#store.setUp();
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
          await this.#repair(bucketOf(this.bus.prefix, senderOf(from)));
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
      { tokens: [juggler.name, this.#me], queue: null },
    );
    this.serve(fileSystem, {
      EXPECT: async ({ transfer_id, sender, file_state }) => {
        await this.#bucket(sender);
        const expected = { transferId: transfer_id, sender, file: fileFromMessage(file_state) };
        await this.#disk.during(() => this.#store.expect(expected, this.#now()));
        this.#verdicts.delete(transfer_id);
        const owner = this.#store.owner(transfer_id) ?? this.#me;
        return { verb: 'EXPECTED', transfer_id: inHandsOf(transfer_id, owner) };
      },
      VERIFY: (request) => this.#verify(request),
      FORGET: ({ transfer_id }) => this.#forget(transfer_id),
      STANDING: async ({ package: name, filename }) => ({
        verb: 'STANDS',
        standing: (await this.#store.standing(name, filename)) ?? null,
      }),
      CLAIM: async ({ package: name, filename }) => ({
        verb: 'STANDS',
        standing: (await this.#store.claim(name, filename)) ?? null,
      }),
      REMOVE: async ({ package: name, filename, stamp }) => {
        const verb = await this.#store.remove(name, filename, stamp);
        this.log.info(
          verb === 'DONE'
            ? `removed ${name}/${filename}`
            : `${name}/${filename} stays: it was published or claimed again meanwhile`,
        );
        return { verb };
      },
      STATVFS: async () => ({ verb: 'STATVFS', ...(await this.#store.space()) }),
    });
    this.every(REPAIR_S, async () => {
      for (const bucket of this.#unstored) await this.#repair(bucket);
    });
    this.every(PROBE_S, () => this.#disk.probe(), PROBE_S);
    this.every(REMOVE_S, () => this.#removeSmall());
    this.every(IDLE_MS / 2000, () => this.#layDown());
    this.every(3600, () => this.#sweep());
  }

  protected override async stopped(): Promise<void> {
    for (const id of [...this.#readings.keys()]) await this.#inTurn(id, () => this.#end(id));
  }

  #hello(transferId: string, user: string, session: string): Promise<Next> {
    const { id } = partsOf(transferId);
    return this.#inTurn(id, async () => {
      const mine = this.#store.owner(id) === this.#me;
      const told = await this.#handOn(transferId, (client) =>
        client.ask('HELLO', { transfer_id: transferId, user, session }, { timeoutMs: 15_000, once: true }),
      );
      if (told) return told;
      const known = this.#readings.get(id);
      const reading = await this.#reading(id, user);
      this.#listen(user, session, id);
      // What passed while nobody listened is read before anything is asked for again.
      if (known || !mine || reading.arriving.state.received > 0) {
        await this.#bucket(user, true);
        await this.#recover(reading);
      }
      return this.#next(reading);
    });
  }

  /**
   * CHUNK bears no transfer's id: it is the one that this session said HELLO for last. So every HELLO of a session
   * is heard here for as long as its last one was for this juggler: then another's is the one to answer.
   */
  #listen(user: string, session: string, id: string): void {
    const key = `${user}.${session}`;
    const lastSeen = this.clock.monotonicMs();
    const before = this.#sessions.get(key);
    if (before?.id === id) {
      before.lastSeen = lastSeen;
      return;
    }
    // A file has one sender: who began anew has no use for what its former session would hear.
    for (const [other, { id: its }] of this.#sessions) if (its === id) this.#leave(other);
    if (before) {
      Object.assign(before, { id, lastSeen });
      return;
    }
    const close = this.serve(
      transfer,
      {
        HELLO: ({ transfer_id }) => {
          const parts = partsOf(transfer_id);
          if ((this.#store.owner(parts.id) ?? parts.juggler) !== this.#me) this.#leave(key);
          return undefined;
        },
        CHUNK: ({ offset, length }) => {
          const its = this.#sessions.get(key);
          return its ? this.#chunk(its, offset, length) : undefined;
        },
        // Any juggler answers that.
        UNSTORED: () => undefined,
      },
      { tokens: ['slave', user, session, transfer.name], queue: null, senderOf },
    );
    this.#sessions.set(key, { id, lastSeen, close });
  }

  /** What a session says is heard no more. */
  #leave(key: string): void {
    const session = this.#sessions.get(key);
    this.#sessions.delete(key);
    if (session) void this.track(session.close);
  }

  async #chunk(session: Session, offset: number, length: number): Promise<Next> {
    const { id } = session;
    session.lastSeen = this.clock.monotonicMs();
    const reading = this.#readings.get(id);
    if (!reading) throw new PiwError('PIW_UNREACHABLE', 'this transfer was laid down; say HELLO');
    await reading.line.written();
    if (reading.failure === undefined && !reading.arriving.state.has(offset, length))
      await this.#recover(reading);
    return this.#next(reading);
  }

  #next(reading: Reading): Next {
    if (reading.failure !== undefined) throw reading.failure;
    reading.lastSeen = this.clock.monotonicMs();
    reading.arriving.note();
    const range = reading.arriving.state.fetch();
    if (!range) return { verb: 'DONE' };
    return { verb: 'FETCH', offset: range.start, length: range.end - range.start };
  }

  async #reading(id: string, user: string): Promise<Reading> {
    const known = this.#readings.get(id);
    if (known) {
      if (known.arriving.sender !== user)
        throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${id} is expected from ${user}`);
      // What could not be written is asked for again; the disk may have room by now.
      if (isDiskTrouble(known.failure)) known.failure = undefined;
      if (known.failure === undefined) return known;
      await this.#end(id);
    }
    const bucket = bucketOf(this.bus.prefix, user);
    const its = [...this.#readings.values()].filter((one) => one.bucket === bucket);
    if (its.length >= AT_ONCE)
      throw new PiwError('PIW_REFUSED', `${user} sends ${String(AT_ONCE)} files already`);
    const arriving = await this.#store.arriving(id, user);
    if (!arriving) throw new PiwError('PIW_UNREACHABLE', 'another took this transfer over; say HELLO');
    const reading: Reading = {
      ...{ arriving, bucket, objects: new Set(), lastSeen: this.clock.monotonicMs() },
      line: this.#lines.open(bucket, id, arriving.state.size, (chunk) => {
        this.#write(reading, chunk);
      }),
      failure: undefined,
      recovering: undefined,
    };
    this.#readings.set(id, reading);
    return reading;
  }

  /** A failure is the answer to the next question. Nothing is written after it until the next HELLO. */
  #write(reading: Reading, { object, offset, data }: Chunk): void {
    if (reading.failure !== undefined) return;
    try {
      if (reading.objects.size < OBJECTS) reading.objects.add(object);
      reading.arriving.write(offset, data);
    } catch (error) {
      this.#disk.failed(error);
      reading.failure = error instanceof Error ? error : new Error(String(error));
    }
  }

  /** Reads what is stored in NATS of what isn't here, once at a time. */
  async #recover(reading: Reading): Promise<void> {
    if (reading.arriving.state.size <= SMALL) return;
    const recover = async (): Promise<void> => {
      for (const chunk of await this.bus.objects.stored(reading.bucket, `${reading.arriving.transferId}.*`)) {
        if (reading.objects.size < OBJECTS) reading.objects.add(chunk.object);
        if (reading.arriving.state.missing(chunk.offset, chunk.length).length === 0) continue;
        const data = await this.bus.objects.read(reading.bucket, chunk);
        if (data) this.#write(reading, { ...chunk, data });
      }
    };
    reading.recovering ??= recover().finally(() => (reading.recovering = undefined));
    await reading.recovering;
  }

  /**
   * Asks the one who has a transfer; undefined when it is in these hands. One that was in the hands of a juggler
   * who is gone is taken over. Raises PIW_UNKNOWN_TRANSFER where nobody has or had it.
   */
  async #handOn<A>(
    transferId: string,
    ask: (client: Client<typeof juggler.verbs>) => Promise<A>,
  ): Promise<A | undefined> {
    const { id, juggler: first } = partsOf(transferId);
    const owner = this.#store.owner(id) ?? first;
    if (owner === this.#me) return undefined;
    try {
      if (owner !== undefined) return await ask(new Client(this.bus, juggler, [juggler.name, owner]));
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_NO_RESPONDERS') throw error;
    }
    // Who said so first may have been taken over from meanwhile.
    const gone = this.#store.owner(id);
    if (gone === undefined) throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${id} is expected`);
    this.log.info(`transfer ${id} is taken over`);
    await this.#store.takeOver(id, gone);
    return undefined;
  }

  #verify(request: Verify): Promise<Verdict> {
    const transferId = request.transfer_id;
    const { id } = partsOf(transferId);
    return this.#inTurn(id, async () => {
      const known = this.#verdicts.get(id);
      if (known) return known;
      const handed = await this.#handOn(transferId, (client) =>
        client.ask('VERIFY', request, { timeoutMs: 30_000, once: true }),
      );
      return handed ?? (await this.#publish(id, request));
    });
  }

  async #publish(id: string, { package: name, rebuilt, past }: Verify): Promise<Verdict> {
    const reading = this.#readings.get(id);
    await reading?.line.written();
    await reading?.recovering?.catch(() => undefined);
    const verdict = await this.#store.verify(id, name, reading?.arriving, rebuilt, past);
    if (verdict.verb === 'LATER') {
      if (reading) reading.lastSeen = this.clock.monotonicMs();
      this.#disk.failed(PiwError.fromAnswer(verdict.code, verdict.reason));
      return verdict;
    }
    // The file that is in its way may be gone when it is asked for again; until FORGET, it stays.
    if (verdict.verb === 'TAKEN' || (verdict.verb === 'REFUSED' && verdict.code === 'PIW_FILE_EXISTS')) {
      if (reading) reading.lastSeen = this.clock.monotonicMs();
      return verdict;
    }
    await this.#end(id);
    if (verdict.verb === 'AGAIN') {
      // What NATS has of it may be what was wrong.
      if (reading) await this.#removeStored(reading);
      return verdict;
    }
    this.#verdicts.set(id, verdict);
    for (const old of this.#verdicts.keys()) {
      if (this.#verdicts.size <= VERDICTS) break;
      this.#verdicts.delete(old);
    }
    if (verdict.verb === 'VERIFIED') this.log.info(`published ${name}/${verdict.filename}`);
    if (reading) {
      // Nobody waits for that.
      void this.track(() => this.#removeStored(reading));
    }
    return verdict;
  }

  #forget(transferId: string): Promise<{ verb: 'DONE' }> {
    const { id } = partsOf(transferId);
    return this.#inTurn(id, async () => {
      if (this.#store.knows(id) || partsOf(transferId).juggler !== this.#me) {
        const handed = await this.#handOn(transferId, (client) =>
          client.ask('FORGET', { transfer_id: transferId }, { timeoutMs: 10_000, once: true }),
        );
        if (handed) return handed;
      }
      const reading = await this.#end(id);
      await this.#store.forget(id);
      if (reading) await this.#removeStored(reading);
      return { verb: 'DONE' };
    });
  }

  /** By name, chunks and metadata go together; what nobody here has seen of the transfer, the sweep finds. */
  async #removeStored({ arriving, bucket, objects }: Reading): Promise<void> {
    if (arriving.state.size <= SMALL) this.#leftIn.add(bucket);
    else await this.#remove(bucket, ...(objects.size < OBJECTS ? objects : [`${arriving.transferId}.*`]));
  }

  /** What is under way of small files may be removed with what is over: nobody reads it from there. */
  async #removeSmall(): Promise<void> {
    const buckets = [...this.#leftIn];
    this.#leftIn.clear();
    for (const bucket of buckets) await this.#remove(bucket, '*');
  }

  /** From a disk that is full nothing can be removed; the bucket is made anew, or what is in it expires. */
  async #remove(bucket: string, ...objects: readonly string[]): Promise<void> {
    try {
      await this.bus.objects.remove(bucket, ...objects);
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_NATS_STORAGE') throw error;
      this.#unstored.add(bucket);
    }
  }

  /** Lays a transfer down: what has come is noted, and nobody writes to it any more. */
  async #end(id: string): Promise<Reading | undefined> {
    const reading = this.#readings.get(id);
    this.#readings.delete(id);
    if (!reading) return undefined;
    await reading.line.stop();
    await reading.recovering?.catch(() => undefined);
    try {
      await reading.arriving.close();
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      this.log.warning(`${reading.arriving.file.filename}: ${error.message}`);
    }
    return reading;
  }

  async #layDown(): Promise<void> {
    const before = this.clock.monotonicMs() - IDLE_MS;
    for (const [id, reading] of this.#readings) {
      if (reading.lastSeen < before) await this.#inTurn(id, () => this.#end(id));
    }
    for (const [key, { lastSeen }] of this.#sessions) if (lastSeen < before) this.#leave(key);
    await this.#lines.layDown();
  }

  #inTurn<T>(id: string, what: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(id) ?? Promise.resolve();
    const mine = before.then(what, what);
    this.#turns.set(id, mine);
    const over = () => {
      if (this.#turns.get(id) === mine) this.#turns.delete(id);
    };
    mine.then(over, over);
    return mine;
  }

  /** The bucket of a sender is there. */
  async #bucket(sender: string, again = false): Promise<void> {
    const name = bucketOf(this.bus.prefix, sender);
    if (this.#buckets.has(name) && !again) return;
    await this.bus.objects.ensure(bucketFor(name));
    this.#buckets.add(name);
  }

  /** Sees to a bucket in which NATS stores nothing. Throws PIW_NATS_STORAGE while that doesn't help. */
  async #repair(bucket: string): Promise<void> {
    await this.#inTurn(bucket, async () => {
      try {
        if (await this.bus.objects.repair(bucketFor(bucket)))
          this.log.warning(`NATS stored nothing in the bucket ${bucket}; it was made anew`);
        this.#unstored.delete(bucket);
        this.conditions.clear('nats-not-storing', bucket);
      } catch (error) {
        if (error instanceof PiwError && error.code === 'PIW_NATS_STORAGE') {
          this.#unstored.add(bucket);
          this.conditions.raise('nats-not-storing', bucket, error.message);
        }
        throw error;
      }
    });
  }

  /** Transfers whose sender did not come back within a day, and chunks that belong to none. */
  async #sweep(): Promise<void> {
    for (const { transferId } of await this.#store.sweep(DAY_MS, this.#now())) {
      this.log.info(`transfer ${transferId} was given up: its sender never came back`);
      await this.#inTurn(transferId, () => this.#end(transferId));
    }
    for (const [bucket, objects] of await this.bus.objects.list(bucketOf(this.bus.prefix, ''))) {
      const stale = objects.filter((object) => {
        const id = transferOf(object);
        // What is too large for a message waits there too, and expires by itself.
        return id !== 'claim' && !this.#store.knows(id);
      });
      if (stale.length === 0) continue;
      this.log.info(`${bucket}: ${String(stale.length)} objects of no transfer are removed`);
      await this.#remove(bucket, ...stale);
    }
  }
}
