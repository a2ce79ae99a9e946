import type { LogHost } from '../protocols/weblog.js';
import { agentOf } from './agents.js';
import { answered, asked, isWheel } from './asked.js';
import { scanner, type Format } from './lines.js';
import { Remembered } from './remembered.js';
import type { Stretch } from './stretch.js';
import { clean } from './text.js';

/** A server writes no longer one; bytes. */
export const LINE_LIMIT = 128 * 1024;
/** How many different user-agents, and requests, are remembered with what they mean. */
const AGENTS = 10_000;
const REQUESTS = 50_000;

/** Reads lines into stretches. Requests and user-agents come again and again, and each is looked at once. */
export class LineReader {
  readonly #scan: ReturnType<typeof scanner>;
  readonly #agents = new Remembered(AGENTS, agentOf);
  readonly #requests;

  /** `prefix`: the path of the farm's site, see `asked`. */
  constructor(format: Format, prefix = '') {
    this.#scan = scanner(format);
    this.#requests = new Remembered(REQUESTS, (request) => asked(request, prefix));
  }

  /**
   * Reads whole lines into the stretch until that is full; gives how many bytes it has read. `at` is where the
   * block begins in its log.
   */
  read(block: string, from: number, at: number, stretch: Stretch): number {
    let begin = from;
    while (begin < block.length && !stretch.full) {
      let end = block.indexOf('\n', begin);
      if (end < 0) end = block.length;
      this.#line(block.slice(begin, block[end - 1] === '\r' ? end - 1 : end), at + begin, stretch);
      begin = end + 1;
    }
    return Math.min(begin, block.length) - from;
  }

  #line(line: string, at: number, stretch: Stretch): void {
    const { tally } = stretch;
    if (line === '') return;
    tally.lines += 1;
    const found = line.length > LINE_LIMIT ? undefined : this.#scan(line);
    if (!found) {
      bad(line, at, stretch);
      return;
    }
    const { host, time, request, status, agent } = found;
    if (status !== 200 && status !== 304) return;
    const what = this.#requests.get(request);
    if (what && answered(what.kind, status))
      stretch.add(what.kind, time, host, what.what, this.#agents.get(agent));
    else if (!what && status === 200 && isWheel(request)) {
      tally.elsewhere += 1;
      tally.firstElsewhere ??= clean(request, 200);
    }
  }
}

/** A line that isn't one of a log. */
export function bad(line: string, at: number, { tally }: Stretch): void {
  tally.bad += 1;
  tally.firstBad ??= { at, text: clean(line, 100) };
}

export type HostOf = (raw: string) => LogHost;
