import type { LogAgent, LogHost, LogKind, LogStretch } from '../protocols/weblog.js';

/** Entries of one message, and about how many bytes of it: it is to be one message of NATS, which has a megabyte. */
export const STRETCH_ENTRIES = 16_000;
const BYTES = 900_000;
/** LOG_KINDS and LOG_ENTRY_BYTES in src/protocols/weblog.ts. */
const KINDS: Readonly<Record<LogKind, number>> = {
  downloads: 0,
  searches: 1,
  projects: 2,
  json: 3,
  pages: 4,
};
const ENTRY_BYTES = 20;

/** What the first of the lines that couldn't be read was, and where it begins. */
export interface BadLine {
  readonly at: number;
  readonly text: string;
}

/** What the lines of a stretch came to. */
export interface Tally {
  lines: number;
  bad: number;
  firstBad: BadLine | undefined;
  /** Downloads of wheels at paths where this farm has none, and the first request of them. */
  elsewhere: number;
  firstElsewhere: string | undefined;
  readonly entries: Record<LogKind, number>;
}

export const noLines = (): Tally => ({
  ...{ lines: 0, bad: 0, firstBad: undefined, elsewhere: 0, firstElsewhere: undefined },
  entries: { downloads: 0, searches: 0, projects: 0, json: 0, pages: 0 },
});

/** A stretch of a log as it is put together, line by line. */
export class Stretch {
  readonly tally: Tally = noLines();
  readonly from: number;
  readonly #hostOf: (raw: string) => LogHost;
  readonly #hosts: LogHost[] = [];
  readonly #hostPlaces = new Map<string, number>();
  readonly #whats: string[] = [];
  readonly #whatPlaces = new Map<string, number>();
  readonly #agents: LogAgent[] = [];
  readonly #agentPlaces = new Map<LogAgent, number>();
  readonly #numbers = new DataView(new ArrayBuffer(STRETCH_ENTRIES * ENTRY_BYTES));
  #entries = 0;
  #bytes = 0;

  /** `hostOf` is asked once for each host. */
  constructor(from: number, hostOf: (raw: string) => LogHost) {
    this.from = from;
    this.#hostOf = hostOf;
  }

  /** It is as much as a message takes. */
  get full(): boolean {
    return this.#entries >= STRETCH_ENTRIES || this.#bytes >= BYTES;
  }

  add(kind: LogKind, time: number, host: string, what: string, agent: LogAgent): void {
    const at = this.#entries * ENTRY_BYTES;
    this.#numbers.setUint32(at, KINDS[kind], true);
    this.#numbers.setUint32(at + 4, time, true);
    this.#numbers.setUint32(at + 8, this.#host(host), true);
    this.#numbers.setUint32(at + 12, this.#what(what), true);
    this.#numbers.setUint32(at + 16, this.#agent(agent), true);
    this.tally.entries[kind] += 1;
    this.#entries += 1;
    this.#bytes += ENTRY_BYTES;
  }

  /** The message for it. */
  finish(log: number, to: number, mark: string): LogStretch {
    return {
      ...{ log, from: this.from, to, mark, hosts: this.#hosts, whats: this.#whats, agents: this.#agents },
      entries: new Uint8Array(this.#numbers.buffer, 0, this.#entries * ENTRY_BYTES),
    };
  }

  /** The same without what it told, where that is refused. */
  finishEmpty(log: number, to: number, mark: string): LogStretch {
    return new Stretch(this.from, this.#hostOf).finish(log, to, mark);
  }

  #host(raw: string): number {
    let place = this.#hostPlaces.get(raw);
    if (place === undefined) {
      place = this.#hosts.push(this.#hostOf(raw)) - 1;
      this.#hostPlaces.set(raw, place);
      this.#bytes += raw.length + 6;
    }
    return place;
  }

  #what(what: string): number {
    let place = this.#whatPlaces.get(what);
    if (place === undefined) {
      place = this.#whats.push(what) - 1;
      this.#whatPlaces.set(what, place);
      this.#bytes += what.length + 3;
    }
    return place;
  }

  #agent(agent: LogAgent): number {
    let place = this.#agentPlaces.get(agent);
    if (place === undefined) {
      place = this.#agents.push(agent) - 1;
      this.#agentPlaces.set(agent, place);
      this.#bytes += agent.reduce((sum, text) => sum + (text?.length ?? 0) + 2, 1);
    }
    return place;
  }
}

/** Adds what one came to to another. */
export function addTally(sum: Tally, more: Tally): void {
  sum.lines += more.lines;
  sum.bad += more.bad;
  sum.firstBad ??= more.firstBad;
  sum.elsewhere += more.elsewhere;
  sum.firstElsewhere ??= more.firstElsewhere;
  for (const [kind, count] of Object.entries(more.entries)) sum.entries[kind as LogKind] += count;
}
