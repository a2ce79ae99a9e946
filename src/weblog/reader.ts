import type { LogHost } from '../protocols/weblog.js';
import { parseUserAgent } from './agents.js';
import { isCountedStatus, classifyRequest, isWheelRequest } from './requests.js';
import { createLineParser, type AccessLogFormat } from './lines.js';
import { LruCache } from '../concurrency/lru-cache.js';
import type { LogStretchBuilder } from './stretch.js';
import { clean } from './text.js';

/** Longest line that is parsed, bytes: no server writes a longer one. */
const MAX_LINE_BYTES = 128 * 1024;
/** Sizes of the caches of parsed user agents and requests. */
const MAX_CACHED_AGENTS = 10_000;
const MAX_CACHED_REQUESTS = 50_000;

/** Parses lines into stretches. Requests and user agents repeat a lot, so their results are cached. */
export class LineReader {
  readonly #parse: ReturnType<typeof createLineParser>;
  readonly #agents = new LruCache(MAX_CACHED_AGENTS, parseUserAgent);
  readonly #requests;

  /** `prefix` is the path of the farm's site, see `classifyRequest`. */
  constructor(format: AccessLogFormat, prefix = '') {
    this.#parse = createLineParser(format);
    this.#requests = new LruCache(MAX_CACHED_REQUESTS, (request) => classifyRequest(request, prefix));
  }

  /**
   * Reads whole lines of `block`, from `start`, into the stretch until that is full. Returns how many bytes were read.
   * `blockOffset` is the position of the block in its log.
   */
  read(block: string, start: number, blockOffset: number, stretch: LogStretchBuilder): number {
    let lineStart = start;
    while (lineStart < block.length && !stretch.isFull) {
      let lineEnd = block.indexOf('\n', lineStart);
      if (lineEnd < 0) lineEnd = block.length;
      this.#readLine(
        block.slice(lineStart, block[lineEnd - 1] === '\r' ? lineEnd - 1 : lineEnd),
        blockOffset + lineStart,
        stretch,
      );
      lineStart = lineEnd + 1;
    }
    return Math.min(lineStart, block.length) - start;
  }

  #readLine(line: string, at: number, stretch: LogStretchBuilder): void {
    const { tally } = stretch;
    if (line === '') return;
    tally.lines += 1;
    const parsed = line.length > MAX_LINE_BYTES ? undefined : this.#parse(line);
    if (!parsed) {
      countBadLine(line, at, stretch);
      return;
    }
    const { host, time, request, status, agent } = parsed;
    if (status !== 200 && status !== 304) return;
    const resource = this.#requests.get(request);
    if (resource && isCountedStatus(resource.kind, status))
      stretch.add(resource.kind, time, host, resource.name, this.#agents.get(agent));
    else if (!resource && status === 200 && isWheelRequest(request)) {
      tally.elsewhere += 1;
      tally.firstElsewhere ??= clean(request, 200);
    }
  }
}

/** Counts a line that could not be parsed; `at` is its position in the log. */
export function countBadLine(line: string, at: number, { tally }: LogStretchBuilder): void {
  tally.bad += 1;
  tally.firstBad ??= { at, text: clean(line, 100) };
}

export type HostLookup = (raw: string) => LogHost;
