import { closeSync, fsync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/chunk.js';
import { Database } from '../../src/database/pool.js';
import { WorkerProcess } from './processes.js';
import { quantile } from './quantile.js';

/** Returns the requests of 100 bytes per second that a process answers to itself, with 64 in flight. */
export async function requestsPerSecond(address: string, seconds: number): Promise<number> {
  const [requester, responder] = await Promise.all([
    Bus.connect({ address, name: 'limit' }),
    Bus.connect({ address, name: 'limit' }),
  ]);
  const subscription = responder.subscribe('limit.ask');
  const answerLoop = (async () => {
    for await (const incoming of subscription) await incoming.respond(incoming.body());
  })();
  const body = 'x'.repeat(100);
  let count = 0;
  const rate = await measureRate(seconds, 64, async () => {
    await requester.request('limit.ask', body);
    count += 1;
  });
  await subscription.stop();
  await answerLoop;
  await Promise.all([requester.drain(), responder.drain()]);
  return rate(count);
}

/** Returns the durable transactions per second, each of one inserted row, over 4 connections. */
export async function commitsPerSecond(dsn: string, seconds: number): Promise<number> {
  const database = await Database.open(dsn, 'limit');
  await database.query('create table limit_commits (n bigint, filler text)');
  let count = 0;
  const rate = await measureRate(seconds, 4, async () => {
    await database.query('insert into limit_commits values ($1, $2)', [count, 'x'.repeat(200)]);
    count += 1;
  });
  await database.query('drop table limit_commits');
  await database.close();
  return rate(count);
}

/** Returns the blocks of 4 KB per second that are written, each with an fsync of its own. */
export function fsyncsPerSecond(folder: string, seconds: number): Promise<number> {
  const path = join(folder, 'limit');
  const file = openSync(path, 'w');
  const block = Buffer.alloc(4096);
  const startedAt = performance.now();
  let count = 0;
  for (; performance.now() - startedAt < seconds * 1000; count += 1) {
    writeSync(file, block);
    fsyncSync(file);
  }
  const elapsedS = (performance.now() - startedAt) / 1000;
  closeSync(file);
  rmSync(path);
  return Promise.resolve(count / elapsedS);
}

/**
 * Writes and fsyncs a block of 4 KB 50 times per second until `isDone` returns true. Returns the 99th percentile of the
 * fsyncs, milliseconds: any answer that depends on a commit to a database on this disk waits that long.
 */
export async function fsyncP99(folder: string, isDone: () => boolean): Promise<number> {
  const path = join(folder, 'limit-meanwhile');
  const file = openSync(path, 'w');
  const block = Buffer.alloc(4096);
  const durations: number[] = [];
  while (!isDone()) {
    writeSync(file, block);
    const startedAt = performance.now();
    await promisify(fsync)(file);
    durations.push(performance.now() - startedAt);
    await sleep(20);
  }
  closeSync(file);
  rmSync(path);
  return quantile(durations, 0.99);
}

/**
 * Repeats `operation` for `seconds`, `concurrency` at a time. Returns a function from a count to its rate per
 * second.
 */
async function measureRate(
  seconds: number,
  concurrency: number,
  operation: () => Promise<void>,
): Promise<(count: number) => number> {
  const startedAt = performance.now();
  const end = startedAt + seconds * 1000;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (performance.now() < end) await operation();
    }),
  );
  const elapsedS = (performance.now() - startedAt) / 1000;
  return (count) => count / elapsedS;
}

/**
 * Returns the MB per second that NATS carries between two processes in chunk-sized messages, answered but not stored.
 */
export async function rawNatsMbPerSecond(address: string, bytes: number): Promise<number> {
  const receiver = new WorkerProcess('./raw.js', 'take', address);
  try {
    await receiver.receive();
    const sender = new WorkerProcess('./raw.js', 'give', address, String(bytes));
    try {
      return ((await sender.receive()) as { rate: number }).rate;
    } finally {
      sender.kill();
    }
  } finally {
    receiver.kill();
  }
}

/** Returns the MB per second that the disk takes: chunks are written one by one, followed by one fsync. */
export function diskMbPerSecond(folder: string, bytes: number): number {
  const path = join(folder, 'limit');
  const block = Buffer.alloc(CHUNK_SIZE, 1);
  const startedAt = performance.now();
  const file = openSync(path, 'w');
  for (let written = 0; written < bytes; written += block.length) writeSync(file, block);
  fsyncSync(file);
  const elapsedMs = performance.now() - startedAt;
  closeSync(file);
  rmSync(path);
  return bytes / 1e3 / elapsedMs;
}
