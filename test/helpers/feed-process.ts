/**
 * Runs a Cloud Gazer and an Architect in a process of their own, which a test can kill. Its argument is a
 * FeedProcessArgs in JSON. The Cloud Gazer's clock runs CLOCK_SPEED times as fast as real time, so that the ten minutes
 * for which it waits for older events of the changelog pass in seconds.
 */
import { fileURLToPath } from 'node:url';
import { CloudGazer, type CloudGazerSettings } from '../../actors/cloud-gazer.js';
import { TheArchitect } from '../../actors/the-architect.js';
import type { Clock } from '../../src/concurrency/clock.js';
import { runActor, type ActorSpec } from '../../src/actor/run.js';
import { Database } from '../../src/database/pool.js';
import { createLog, type LogSink } from '../../src/log.js';
import { Changelog } from '../../src/pypi/changelog.js';
import { SimpleIndexClient } from '../../src/pypi/index-reader.js';

export interface FeedProcessArgs {
  readonly nats: string;
  readonly prefix: string;
  readonly dsn: string;
  /** The address of the index. */
  readonly url: string;
}

const CLOCK_SPEED = 300;

export function fastClock(speed = CLOCK_SPEED): Clock {
  const startedAt = Date.now();
  return {
    now: () => startedAt + (Date.now() - startedAt) * speed,
    monotonicMs: () => performance.now() * speed,
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms / speed);
      return () => {
        clearTimeout(timer);
      };
    },
  };
}

export function gazerSpec(url: string, overrides: Partial<CloudGazerSettings>): ActorSpec<undefined> {
  const http = { retryDelayMs: 5, timeoutMs: 2000, contact: 'admin@example.org' };
  const settings: CloudGazerSettings = {
    index: new SimpleIndexClient(`${url}/simple/`, http),
    changelog: new Changelog(`${url}/pypi`, http),
    json: `${url}/pypi`,
    watch: { entries: [], only: false, file: null },
    history: 'all',
    pollS: 10,
    pagesPerSecond: 50,
    removalDelayS: 3600,
    removalShare: 1,
    contact: 'admin@example.org',
    ...overrides,
  };
  return {
    task: 'cloud-gazer',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    load: () => Promise.resolve((context) => new CloudGazer(context, settings)),
  };
}

function architectSpec(dsn: string): ActorSpec<undefined> {
  return {
    task: 'the-architect',
    kind: 'single',
    pausing: 'stops',
    count: 1,
    load: () =>
      Promise.resolve(async (context) => {
        const database = await Database.open(dsn, 'architect', { connections: 2, relaxed: true });
        return new TheArchitect(context, database, { backlogOrder: 'newest', weights: [16, 4, 1] });
      }),
  };
}

export function runActorSpec(
  spec: ActorSpec<undefined>,
  { nats, prefix, sink, clock }: { nats: string; prefix: string; sink: LogSink; clock?: Clock },
): { readonly stop: () => Promise<void> } {
  const controller = new AbortController();
  const running = runActor(spec, undefined, {
    bus: { address: nats, name: spec.task, prefix },
    log: createLog(spec.task, 'info', sink),
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
  const { nats, prefix, dsn, url } = JSON.parse(process.argv[2] ?? '{}') as FeedProcessArgs;
  const sink = (line: string) => {
    process.send?.(line);
  };
  runActorSpec(gazerSpec(url, {}), { nats, prefix, sink, clock: fastClock() });
  runActorSpec(architectSpec(dsn), { nats, prefix, sink });
  process.once('disconnect', () => process.exit());
}
