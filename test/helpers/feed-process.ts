/**
 * A Cloud Gazer and an Architect in a process of their own, which a test can kill. Its argument is JSON: a
 * FeedProcess. Its clock turns FAST times as fast: ten minutes of disorder are over in seconds.
 */
import { fileURLToPath } from 'node:url';
import { CloudGazer, type CloudGazerSettings } from '../../actors/cloud-gazer.js';
import { TheArchitect } from '../../actors/the-architect.js';
import type { Clock } from '../../src/actor/clock.js';
import { runActor, type Part } from '../../src/actor/run.js';
import { Database } from '../../src/database/pool.js';
import { createLog, type Sink } from '../../src/log.js';
import { Changelog } from '../../src/pypi/changelog.js';
import { SimpleIndex } from '../../src/pypi/index-reader.js';

export interface FeedProcess {
  readonly nats: string;
  readonly prefix: string;
  readonly dsn: string;
  /** The address of the index. */
  readonly url: string;
}

const FAST = 300;

export function fastClock(speed = FAST): Clock {
  const began = Date.now();
  return {
    now: () => began + (Date.now() - began) * speed,
    monotonicMs: () => performance.now() * speed,
    after: (ms, what) => {
      const timer = setTimeout(what, ms / speed);
      return () => {
        clearTimeout(timer);
      };
    },
  };
}

export function gazerPart(url: string, given: Partial<CloudGazerSettings>): Part<undefined> {
  const http = { pauseMs: 5, timeoutMs: 2000, contact: 'admin@example.org' };
  const settings: CloudGazerSettings = {
    index: new SimpleIndex(`${url}/simple/`, http),
    changelog: new Changelog(`${url}/pypi`, http),
    json: `${url}/pypi`,
    watch: { entries: [], only: false, file: null },
    history: 'all',
    pollS: 10,
    rate: 50,
    removalDelayS: 3600,
    removalShare: 1,
    contact: 'admin@example.org',
    ...given,
  };
  return {
    task: 'cloud-gazer',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    load: () => Promise.resolve((context) => new CloudGazer(context, settings)),
  };
}

function architectPart(dsn: string): Part<undefined> {
  return {
    task: 'the-architect',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    load: () =>
      Promise.resolve(async (context) => {
        const database = await Database.open(dsn, 'architect', { connections: 2, relaxed: true });
        return new TheArchitect(context, database, { first: 'newest', weights: [16, 4, 1] });
      }),
  };
}

export function runPart(
  part: Part<undefined>,
  { nats, prefix, sink, clock }: { nats: string; prefix: string; sink: Sink; clock?: Clock },
): { readonly stop: () => Promise<void> } {
  const controller = new AbortController();
  const running = runActor(part, undefined, {
    bus: { address: nats, name: part.task, prefix },
    log: createLog(part.task, 'info', sink),
    signal: controller.signal,
    ...(clock ? { clock } : {}),
  });
  return {
    stop: async () => {
      controller.abort();
      await running;
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { nats, prefix, dsn, url } = JSON.parse(process.argv[2] ?? '{}') as FeedProcess;
  const sink = (line: string) => {
    process.send?.(line);
  };
  runPart(gazerPart(url, {}), { nats, prefix, sink, clock: fastClock() });
  runPart(architectPart(dsn), { nats, prefix, sink });
  process.once('disconnect', () => process.exit());
}
