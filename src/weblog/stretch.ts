import type { LogAgent, LogHost, LogKind, LogStretch } from '../protocols/weblog.js';

/** Maximum entries and (about) bytes of a stretch: it must fit in one NATS message, at most 1 MB. */
const MAX_STRETCH_ENTRIES = 16_000;
const MAX_STRETCH_BYTES = 900_000;
/** Same as LOG_KINDS and LOG_ENTRY_BYTES in src/protocols/weblog.ts. */
const KIND_NUMBERS: Readonly<Record<LogKind, number>> = {
  downloads: 0,
  'index-pages': 1,
  projects: 2,
  json: 3,
  pages: 4,
};
const ENTRY_BYTES = 20;

/** The first line that could not be parsed, and its position. */
export interface BadLine {
  readonly at: number;
  readonly text: string;
}

/** Counts of the lines of a stretch. */
export interface Tally {
  lines: number;
  bad: number;
  firstBad: BadLine | undefined;
  /** Downloads of wheels outside the paths of this farm's site, and the first such request. */
  elsewhere: number;
  firstElsewhere: string | undefined;
  readonly entries: Record<LogKind, number>;
}

export const emptyTally = (): Tally => ({
  lines: 0,
  bad: 0,
  firstBad: undefined,
  elsewhere: 0,
  firstElsewhere: undefined,
  entries: { downloads: 0, 'index-pages': 0, projects: 0, json: 0, pages: 0 },
});

/** Builds the message for a stretch of a log, line by line. */
export class LogStretchBuilder {
  readonly tally: Tally = emptyTally();
  readonly from: number;
  readonly #hostOf: (raw: string) => LogHost;
  readonly #hosts: LogHost[] = [];
  readonly #hostIndexes = new Map<string, number>();
  readonly #resources: string[] = [];
  readonly #resourceIndexes = new Map<string, number>();
  readonly #agents: LogAgent[] = [];
  readonly #agentIndexes = new Map<LogAgent, number>();
  readonly #entryData = new DataView(new ArrayBuffer(MAX_STRETCH_ENTRIES * ENTRY_BYTES));
  #entryCount = 0;
  #bytes = 0;

  /** `hostOf` is called once for each host. */
  constructor(from: number, hostOf: (raw: string) => LogHost) {
    this.from = from;
    this.#hostOf = hostOf;
  }

  /** Whether a message has no room for more. */
  get isFull(): boolean {
    return this.#entryCount >= MAX_STRETCH_ENTRIES || this.#bytes >= MAX_STRETCH_BYTES;
  }

  add(kind: LogKind, time: number, host: string, resource: string, agent: LogAgent): void {
    const at = this.#entryCount * ENTRY_BYTES;
    this.#entryData.setUint32(at, KIND_NUMBERS[kind], true);
    this.#entryData.setUint32(at + 4, time, true);
    this.#entryData.setUint32(at + 8, this.#hostIndex(host), true);
    this.#entryData.setUint32(at + 12, this.#resourceIndex(resource), true);
    this.#entryData.setUint32(at + 16, this.#agentIndex(agent), true);
    this.tally.entries[kind] += 1;
    this.#entryCount += 1;
    this.#bytes += ENTRY_BYTES;
  }

  /** Returns the message for the stretch, which ends at `to`. */
  build(log: number, to: number, mark: string): LogStretch {
    return {
      log,
      from: this.from,
      to,
      mark,
      hosts: this.#hosts,
      resources: this.#resources,
      agents: this.#agents,
      entries: new Uint8Array(this.#entryData.buffer, 0, this.#entryCount * ENTRY_BYTES),
    };
  }

  /** Returns the message without its entries, for a stretch that the farm has refused. */
  buildEmpty(log: number, to: number, mark: string): LogStretch {
    return new LogStretchBuilder(this.from, this.#hostOf).build(log, to, mark);
  }

  #hostIndex(raw: string): number {
    let index = this.#hostIndexes.get(raw);
    if (index === undefined) {
      index = this.#hosts.push(this.#hostOf(raw)) - 1;
      this.#hostIndexes.set(raw, index);
      this.#bytes += raw.length + 6;
    }
    return index;
  }

  #resourceIndex(resource: string): number {
    let index = this.#resourceIndexes.get(resource);
    if (index === undefined) {
      index = this.#resources.push(resource) - 1;
      this.#resourceIndexes.set(resource, index);
      this.#bytes += resource.length + 3;
    }
    return index;
  }

  #agentIndex(agent: LogAgent): number {
    let index = this.#agentIndexes.get(agent);
    if (index === undefined) {
      index = this.#agents.push(agent) - 1;
      this.#agentIndexes.set(agent, index);
      this.#bytes += agent.reduce((sum, text) => sum + (text?.length ?? 0) + 2, 1);
    }
    return index;
  }
}

/** Adds the counts of `tally` to `sum`. */
export function addTally(sum: Tally, tally: Tally): void {
  sum.lines += tally.lines;
  sum.bad += tally.bad;
  sum.firstBad ??= tally.firstBad;
  sum.elsewhere += tally.elsewhere;
  sum.firstElsewhere ??= tally.firstElsewhere;
  for (const [kind, count] of Object.entries(tally.entries)) sum.entries[kind as LogKind] += count;
}
