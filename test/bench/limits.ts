import { closeSync, fsync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/objects.js';
import { Database } from '../../src/database/pool.js';
import { WorkerProcess } from './processes.js';
import { quantile } from './quantile.js';

/** Questions of 100 bytes that are answered a second, by one process to itself, 64 under way. */
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

/** Transactions of one inserted row a second, by 4 connections, each waited for until it is on the disk. */
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

/** Blocks of 4 KB a second, each written and synced by itself. */
export function fsyncsPerSecond(folder: string, seconds: number): Promise<number> {
  const path = join(folder, 'limit');
  const file = openSync(path, 'w');
  const block = Buffer.alloc(4096);
  const began = performance.now();
  let count = 0;
  for (; performance.now() - began < seconds * 1000; count += 1) {
    writeSync(file, block);
    fsyncSync(file);
  }
  const took = (performance.now() - began) / 1000;
  closeSync(file);
  rmSync(path);
  return Promise.resolve(count / took);
}

/**
 * How long a block of 4 KB takes to the disk, 50 times a second until `until` says so: the 99th percentile,
 * milliseconds. It is what any answer waits for that is kept in a database on this disk.
 */
export async function fsyncP99(folder: string, isDone: () => boolean): Promise<number> {
  const path = join(folder, 'limit-meanwhile');
  const file = openSync(path, 'w');
  const block = Buffer.alloc(4096);
  const durations: number[] = [];
  while (!isDone()) {
    writeSync(file, block);
    const began = performance.now();
    await promisify(fsync)(file);
    durations.push(performance.now() - began);
    await sleep(20);
  }
  closeSync(file);
  rmSync(path);
  return quantile(durations, 0.99);
}

async function measureRate(
  seconds: number,
  concurrency: number,
  operation: () => Promise<void>,
): Promise<(count: number) => number> {
  const began = performance.now();
  const end = began + seconds * 1000;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (performance.now() < end) await operation();
    }),
  );
  const took = (performance.now() - began) / 1000;
  return (count) => count / took;
}

/** MB a second that NATS carries from one process to another in messages of a chunk, each answered, and kept nowhere. */
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

/** MB a second that go to the disk: written one chunk after the other, then synced. */
export function diskMbPerSecond(folder: string, bytes: number): number {
  const path = join(folder, 'limit');
  const block = Buffer.alloc(CHUNK_SIZE, 1);
  const began = performance.now();
  const file = openSync(path, 'w');
  for (let written = 0; written < bytes; written += block.length) writeSync(file, block);
  fsyncSync(file);
  const took = performance.now() - began;
  closeSync(file);
  rmSync(path);
  return bytes / 1e3 / took;
}
