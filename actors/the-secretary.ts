import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Batch } from '../src/actor/batch.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { oracle } from '../src/protocols/oracle.js';
import { scribe, secretary } from '../src/protocols/web.js';
import type { Statistics } from '../src/protocols/statistics.js';

type Written = [kind: Kind, argument: string, note: number];

export interface SecretarySettings {
  /** A page is written at most once in so many seconds, and never later than that. */
  readonly bufferS: number;
}

/** How often the backlog in the database is looked at, seconds: what a crash left, and failed builds. */
const LOOK_S = 2;
/** With so many pages in mind whose time has come, or of which it has not, the backlog isn't looked at. */
const ENOUGH = { ready: 500, waiting: 20_000 };
/** Pages that are in Scribes' hands at once: those that people install from. */
const HANDS = 8;
/** The rest are written one at a time, with a pause so many times as long as each took, but for no longer than this. */
const REST = { times: 4, mostMs: 500 };

type Kind = 'PKG' | 'PROJECT' | 'LOG' | 'SEARCH' | 'SITEMAP' | 'DELPKG' | 'DELVER' | 'HOME';

/**
 * One page, or one package's pages, and where it is:
 *
 *   waiting  until `at` has come
 *   ready    it is written as soon as a hand is free for its kind
 *   writing  a Scribe has it, from the state of `writing`; if it has a higher note when it comes back,
 *            it is due again, so that an older state never overwrites a newer one
 *
 * A note is a number that the database gives to each wish for a page; a page is taken out of the
 * backlog only under the note with which it was begun.
 */
interface Task {
  readonly kind: Kind;
  readonly argument: string;
  note: number;
  at: number;
  ready: boolean;
  writing: number | undefined;
  tries: number;
  /** Called when it is on the disk. */
  readonly written: (() => void)[];
}

/**
 * Buffers what is to be written. The first request for a page is written at once; those that come
 * within the buffer's time after that are written together at its end. DELPKG and DELVER are not
 * buffered, and answered when they are written: files that the index names no more can go then. What
 * is due is kept in the database's backlog until it is on the disk, so a crash of this process or of
 * a Scribe loses nothing.
 *
 * Build logs, and project pages alone, are written one at a time, with a pause after each: of a storm of
 * failed builds there are thousands, and they are not to slow down what gives out the next ones.
 */
export class TheSecretary extends Actor {
  readonly #tasks = new Map<string, Task>();
  readonly #written = new Map<string, number>();
  readonly #database: Client<typeof oracle.verbs>;
  readonly #scribe: Client<typeof scribe.verbs>;
  #statistics: Statistics | undefined;
  readonly #bufferMs: number;
  #hands = HANDS;
  /** What is ready, in its order: pages that people install from, and the rest. */
  readonly #front: Task[] = [];
  readonly #back: Task[] = [];
  #backBusy = false;
  /** How far the backlog has been read, by its notes. */
  readonly #read = new Map<boolean, number>();
  /** HOME is not in the backlog: its notes are counted here. */
  #homes = 0;

  readonly #saved: Batch<Written, Written>;

  constructor(context: ActorContext, settings: SecretarySettings) {
    super(context);
    this.#bufferMs = settings.bufferS * 1000;
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
    this.#scribe = new Client(this.bus, scribe, undefined, { timeoutMs: 60_000, patienceMs: 60_000 });
    this.#saved = new Batch({
      run: async (written) => {
        await this.#database.ask('SAVEPAGES', { pages: [], written: [...written] });
        return written;
      },
      ...{ maxItems: 500, maxInFlight: 1, delayMs: 50 },
    });
  }

  override start(): void {
    const done = { verb: 'DONE' } as const;
    const keep = async (kind: Kind, argument: string) => {
      const { notes } = await this.#database.ask('SAVEPAGES', { pages: [[kind, argument]], written: [] });
      this.#note(kind, argument, notes[0] ?? 0);
      return done;
    };
    const urgent = async (kind: Kind, argument: string) => {
      await keep(kind, argument);
      const task = this.#tasks.get(keyOf(kind, argument));
      if (!task) return done;
      task.at = 0;
      this.#makeReady(task);
      await new Promise<void>((resolve) => task.written.push(resolve));
      return done;
    };
    this.serve(secretary, {
      HOME: ({ statistics }) => {
        // The newest figures are the ones that count; a crash only waits for the next.
        this.#statistics = statistics;
        this.#homes += 1;
        this.#note('HOME', '', this.#homes);
        return done;
      },
      PKG: ({ package: name }) => keep('PKG', name),
      PROJECT: ({ package: name }) => keep('PROJECT', name),
      LOG: ({ build_id }) => keep('LOG', String(build_id)),
      SEARCH: () => keep('SEARCH', ''),
      SITEMAP: () => keep('SITEMAP', ''),
      DELPKG: ({ package: name }) => urgent('DELPKG', name),
      DELVER: ({ package: name, version }) => urgent('DELVER', `${name} ${version}`),
    });
    this.every(LOOK_S, () => this.#look());
    this.every(
      0.25,
      () => {
        for (const task of this.#tasks.values()) this.#makeReady(task);
      },
      0.25,
    );
    // Of two notes the higher may be committed first: now and then all of the backlog is read again.
    this.every(60, () => {
      this.#read.clear();
      const before = this.clock.now() - this.#bufferMs;
      for (const [key, at] of this.#written) if (at < before) this.#written.delete(key);
    });
  }

  async #look(): Promise<void> {
    for (const logs of [false, true]) {
      for (let more = true; more && !this.#isEnough(logs);) {
        const after = this.#read.get(logs) ?? 0;
        const { pages } = await this.#database.ask('LOADPAGES', { logs, after });
        for (const [kind, argument, note] of pages) this.#note(kind as Kind, argument, note);
        const last = pages.at(-1);
        if (last) this.#read.set(logs, last[2]);
        more = pages.length > 0;
      }
    }
  }

  #isEnough(logs: boolean): boolean {
    let ready = 0;
    let waiting = 0;
    for (const task of this.#tasks.values()) {
      if ((task.kind === 'LOG') !== logs) continue;
      if (task.ready) ready += 1;
      else waiting += 1;
    }
    return ready >= ENOUGH.ready || waiting >= ENOUGH.waiting;
  }

  #note(kind: Kind, argument: string, note: number): void {
    const key = keyOf(kind, argument);
    const known = this.#tasks.get(key);
    if (known) {
      known.note = Math.max(known.note, note);
      return;
    }
    const last = this.#written.get(key);
    const at = last === undefined ? 0 : last + this.#bufferMs;
    const task = { kind, argument, note, at, ready: false, writing: undefined, tries: 0, written: [] };
    this.#tasks.set(key, task);
    this.#makeReady(task);
  }

  #makeReady(task: Task): void {
    if (task.ready || task.writing !== undefined || task.at > this.clock.now()) return;
    task.ready = true;
    (task.kind === 'LOG' || task.kind === 'PROJECT' ? this.#back : this.#front).push(task);
    this.#handOut();
  }

  #handOut(): void {
    while (this.#hands > 0) {
      const task = this.#front.shift();
      if (!task) break;
      this.#hands -= 1;
      void this.track(async () => {
        await this.#write(task, () => {
          // The Scribe can have the next one, while this one is noted as written.
          this.#hands += 1;
          this.#handOut();
        });
      });
    }
    if (this.#backBusy || this.isStopping()) return;
    const task = this.#back.shift();
    if (!task) return;
    this.#backBusy = true;
    const began = this.clock.now();
    void this.track(() =>
      this.#write(task, () => {
        this.clock.after(Math.min(REST.times * (this.clock.now() - began), REST.mostMs), () => {
          this.#backBusy = false;
          this.#handOut();
        });
      }),
    );
  }

  /** `free` is called when the Scribe is done with it. */
  async #write(task: Task, free: () => void): Promise<void> {
    const key = keyOf(task.kind, task.argument);
    const { note } = task;
    task.ready = false;
    task.writing = note;
    try {
      await this.#ask(task).finally(free);
      this.#written.set(key, this.clock.now());
      if (task.kind !== 'HOME') await this.#saved.add([task.kind, task.argument, note]);
      task.tries = 0;
      if (task.note > note) task.at = task.written.length > 0 ? 0 : this.clock.now() + this.#bufferMs;
      else {
        this.#tasks.delete(key);
        for (const tell of task.written.splice(0)) tell();
      }
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      task.tries += 1;
      task.at = this.clock.now() + Math.min(1000 * 2 ** task.tries, 60_000);
      this.log.warning(`${task.kind} ${task.argument} is not written yet: ${error.message}`);
    } finally {
      task.writing = undefined;
    }
  }

  async #ask({ kind, argument }: Task): Promise<void> {
    switch (kind) {
      case 'HOME':
        if (this.#statistics) await this.#scribe.ask('HOME', { statistics: this.#statistics });
        return;
      case 'PKG':
      case 'PROJECT':
      case 'DELPKG':
        await this.#scribe.ask(kind, { package: argument });
        return;
      case 'LOG':
        await this.#scribe.ask('LOG', { build_id: Number(argument) });
        return;
      case 'SEARCH':
      case 'SITEMAP':
        await this.#scribe.ask(kind, {});
        return;
      case 'DELVER': {
        const [name = '', version = ''] = argument.split(' ');
        await this.#scribe.ask('DELVER', { package: name, version });
      }
    }
  }
}

const keyOf = (kind: string, argument: string): string => `${kind} ${argument}`;
