import { Actor, type ActorContext, type From } from '../src/actor/actor.js';
import { DAY_MS } from '../src/bus/objects.js';
import { PiwError, reason } from '../src/errors.js';
import { BUCKET_BYTES, SMALL_FILE, bucketOf, fileSystem, transfer } from '../src/protocols/file-juggler.js';
import type { Answer } from '../src/protocols/protocol.js';
import { fileFromMessage } from '../src/states/file-state.js';
import { WheelStore, type Arriving, type Verdict } from '../src/wheels/store.js';

type Next = Answer<typeof transfer.verbs, 'CHUNK'>;

/** How long chunks that were announced may be on their way, milliseconds. */
const ARRIVAL_MS = 30_000;
/** A reader that nothing comes to for so long ends; the next HELLO begins another. */
const IDLE_MS = 60_000;
/** How many files one user may send at once, to one process: each takes two descriptors and a consumer. */
const AT_ONCE = 256;
/** What a chunk takes in a bucket beyond its bytes, in those. */
const OVERHEAD = 0.02;
const senderOf = ({ tokens }: From): string => tokens[1] ?? '';

/** How many verdicts are kept for those who ask again. */
const VERDICTS = 1000;

/** One transfer in this process: its file, and the loop that reads the chunks of it. */
interface Reading {
  readonly arriving: Arriving;
  readonly bucket: string;
  readonly stop: AbortController;
  chunks: number;
  failure: Error | undefined;
  /** Called at each chunk, and at the end. */
  waiting: Set<() => void>;
  done: Promise<void>;
}

/**
 * Takes the files of slaves and importers to their place. For each file:
 *
 *   EXPECT   (from the Slave Driver or Mr Chase) notes on the disk what will come, and from whom
 *   HELLO    (from the sender) whichever juggler gets it reads the transfer's chunks from now on, and
 *            answers with the first range that isn't there: all of it at first
 *   CHUNK    the sender has stored a range: when it is read, the next range is asked for, or DONE
 *   VERIFY   (from whoever said EXPECT) digest, contents, then the file is published
 *
 * Bytes go to the disk as they come, and what is there is noted beside them. So when the sender, the
 * juggler or NATS breaks off, the sender says HELLO again, to any juggler, and only what is missing
 * is sent. Chunks that were stored in NATS before the break are read first.
 */
export class FileJuggler extends Actor {
  readonly #store: WheelStore;
  readonly #readings = new Map<string, Reading>();
  readonly #sessions = new Map<string, { id: string; close: () => Promise<void> }>();
  readonly #verdicts = new Map<string, Verdict>();

  constructor(context: ActorContext, outputPath: string) {
    super(context);
    this.#store = new WheelStore(outputPath);
  }

  override async start(): Promise<void> {
    await this.#store.setUp();
    this.serve(
      transfer,
      { HELLO: ({ transfer_id }, from) => this.#hello(transfer_id, from) },
      { tokens: ['slave', '*', '*', transfer.name], verb: 'HELLO', senderOf },
    );
    this.serve(fileSystem, {
      EXPECT: async ({ transfer_id, sender, file_state }) => {
        await this.bus.objects.ensure({
          name: bucketOf(this.bus.prefix, sender),
          maxAgeMs: DAY_MS,
          maxBytes: BUCKET_BYTES,
        });
        await this.#store.expect({ transferId: transfer_id, sender, file: fileFromMessage(file_state) });
        this.#verdicts.delete(transfer_id);
        return { verb: 'DONE' };
      },
      VERIFY: ({ transfer_id, package: name }) => this.#verify(transfer_id, name),
      REMOVE: async ({ package: name, filename }) => {
        await this.#store.remove(name, filename);
        this.log.info(`removed ${name}/${filename}`);
        return { verb: 'DONE' };
      },
      STATVFS: async () => ({ verb: 'STATVFS', ...(await this.#store.space()) }),
    });
    this.every(3600, () => this.#sweep());
  }

  protected override async stopped(): Promise<void> {
    for (const id of [...this.#readings.keys()]) await this.#end(id);
  }

  async #hello(id: string, from: From): Promise<Next> {
    const [, user = '', session = ''] = from.tokens;
    const reading = await this.#reading(id, user);
    await this.#listen(`${user}.${session}`, id, from);
    const { size, received } = reading.arriving.state;
    if (size > SMALL_FILE)
      await this.bus.objects.makeRoom(reading.bucket, (size - received) * (1 + OVERHEAD), BUCKET_BYTES);
    // What was stored before a break is read before anything is asked for again.
    const stored = await this.bus.objects.count(reading.bucket, `${id}.*`);
    await this.#until(reading, () => reading.chunks >= stored || reading.arriving.state.done);
    return this.#next(reading);
  }

  /** CHUNK bears no transfer's id: it is the one that this session said HELLO for last. */
  async #listen(session: string, id: string, from: From): Promise<void> {
    const before = this.#sessions.get(session);
    if (before?.id === id) return;
    // A file has one sender: who began anew has no use for what its former session would hear.
    for (const [other, { id: its, close }] of this.#sessions) {
      if (other !== session && its !== id) continue;
      this.#sessions.delete(other);
      await close();
    }
    const close = this.serve(
      transfer,
      { CHUNK: ({ offset, length }) => this.#chunk(session, offset, length) },
      { tokens: from.tokens.slice(0, -1), verb: 'CHUNK', senderOf },
    );
    this.#sessions.set(session, { id, close });
  }

  async #chunk(session: string, offset: number, length: number): Promise<Next> {
    const reading = this.#readings.get(this.#sessions.get(session)?.id ?? '');
    if (!reading) throw new PiwError('PIW_UNKNOWN_TRANSFER', 'a chunk came before HELLO');
    await this.#until(reading, () => reading.arriving.state.has(offset, length));
    return this.#next(reading);
  }

  #next(reading: Reading): Next {
    if (reading.failure) throw reading.failure;
    const range = reading.arriving.state.fetch();
    if (!range) return { verb: 'DONE' };
    return { verb: 'FETCH', offset: range.start, length: range.end - range.start };
  }

  async #reading(id: string, user: string): Promise<Reading> {
    const known = this.#readings.get(id);
    if (known && known.failure === undefined && !known.stop.signal.aborted) return known;
    if (known) await this.#end(id);
    const bucket = bucketOf(this.bus.prefix, user);
    const its = [...this.#readings.values()].filter(
      (one) => one.bucket === bucket && !one.stop.signal.aborted,
    );
    if (its.length >= AT_ONCE)
      throw new PiwError('PIW_REFUSED', `${user} sends ${String(AT_ONCE)} files already`);
    const arriving = await this.#store.arriving(id, user);
    const reading: Reading = {
      arriving,
      bucket,
      stop: new AbortController(),
      chunks: 0,
      failure: undefined,
      waiting: new Set(),
      done: Promise.resolve(),
    };
    this.#readings.set(id, reading);
    reading.done = this.#read(id, reading);
    return reading;
  }

  async #read(id: string, reading: Reading): Promise<void> {
    const { arriving, stop } = reading;
    const whole = arriving.state.done;
    const tell = () => {
      for (const wake of reading.waiting) wake();
    };
    try {
      if (whole) return;
      for await (const { offset, data } of this.bus.objects.chunks(reading.bucket, `${id}.*`, {
        idleMs: IDLE_MS,
        signal: stop.signal,
      })) {
        await arriving.write(offset, data);
        reading.chunks += 1;
        tell();
        if (arriving.state.fetch() === undefined) break;
      }
    } catch (error) {
      reading.failure = error instanceof Error ? error : new Error(reason(error));
      if (error instanceof PiwError) this.log.warning(`${arriving.file.filename}: ${error.message}`);
      else this.context.crash(error);
    } finally {
      stop.abort();
      await arriving.close().catch((error: unknown) => {
        this.log.warning(`${arriving.file.filename}: ${reason(error)}`);
      });
      tell();
    }
  }

  /** Waits for chunks until `enough`, the end of the reader, or ARRIVAL_MS without any. */
  #until(reading: Reading, enough: () => boolean): Promise<void> {
    if (enough() || reading.stop.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const over = () => {
        cancel();
        reading.waiting.delete(look);
        resolve();
      };
      let cancel = this.clock.after(ARRIVAL_MS, over);
      const look = () => {
        if (enough() || reading.stop.signal.aborted) {
          over();
          return;
        }
        cancel();
        cancel = this.clock.after(ARRIVAL_MS, over);
      };
      reading.waiting.add(look);
    });
  }

  async #verify(id: string, name: string): Promise<Verdict> {
    const known = this.#verdicts.get(id);
    if (known) return known;
    const reading = this.#readings.get(id);
    await this.#end(id);
    const verdict = await this.#store.verify(id, name);
    if (verdict.verb === 'AGAIN') return verdict;
    // The file that is in its way may be gone when it comes again.
    const final = verdict.verb === 'VERIFIED' || verdict.code !== 'PIW_FILE_EXISTS';
    if (final) this.#verdicts.set(id, verdict);
    for (const old of this.#verdicts.keys()) {
      if (this.#verdicts.size <= VERDICTS) break;
      this.#verdicts.delete(old);
    }
    if (verdict.verb === 'VERIFIED')
      this.log.info(`published ${name}/${reading?.arriving.file.filename ?? id}`);
    if (reading) {
      await this.bus.objects.remove(reading.bucket, `${id}.*`);
      if (reading.arriving.state.size > SMALL_FILE)
        await this.bus.objects.makeRoom(reading.bucket, 0, BUCKET_BYTES);
    }
    return verdict;
  }

  async #end(id: string): Promise<void> {
    const reading = this.#readings.get(id);
    this.#readings.delete(id);
    for (const [session, { id: its, close }] of this.#sessions) {
      if (its !== id) continue;
      this.#sessions.delete(session);
      await close();
    }
    reading?.stop.abort();
    await reading?.done;
  }

  /** Transfers whose sender did not come back within a day, and their chunks. */
  async #sweep(): Promise<void> {
    for (const { transferId, sender } of await this.#store.sweep(DAY_MS, this.clock.now())) {
      this.log.info(`transfer ${transferId} was given up: its sender never came back`);
      await this.#end(transferId);
      if (sender !== '') await this.bus.objects.remove(bucketOf(this.bus.prefix, sender), `${transferId}.*`);
    }
  }
}
