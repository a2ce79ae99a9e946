/*
 * How a file gets from a slave or an importer (the sender) to the farm. This folder has all of it except the names and
 * fields of the messages (src/protocols/file-juggler.ts) and the actor that answers them (actors/file-juggler.ts).
 *
 *   Slave Driver, Mr Chase   EXPECT ──> File Juggler    staging.ts records the file, its sender and its owner
 *   sender                   HELLO  ──> File Juggler    active-transfers.ts opens it; the answer is the missing range
 *   sender                   chunks ──> File Juggler    range-sender.ts publishes them; chunk-subscriptions.ts receives
 *                               └─────> bucket          them, and NATS keeps the last 15 MB (chunk-bucket.ts)
 *   sender                   CHUNK  ──> File Juggler    asks for the acknowledgement of a segment: incoming-file.ts has
 *                                                       hashed and written it (part-file.ts), and noted its range
 *   Slave Driver, Mr Chase   VERIFY ──> File Juggler    src/wheels/store.ts syncs and publishes the file
 *
 * When one of them dies:
 *
 *   the sender     says HELLO again when it is back, and sends what is missing; after a day the transfer is removed
 *   the juggler    CHUNK finds nobody; the sender says HELLO again, and another juggler takes the transfer over: it
 *                  reads the noted ranges, then what the bucket has kept, and requests the rest. A small file, which is
 *                  in memory, is sent again
 *   NATS           has nothing that counts; the sender says HELLO again when it is back
 *   the machine    bytes that were written may be lost although their range was noted; then the SHA-256 differs, VERIFY
 *                  is answered AGAIN, and the file is sent again. Nothing is published before it is synced
 */
import { ProtocolClient } from '../actor/client.js';
import { pause } from '../concurrency/pause.js';
import { PiwError, isDiskError } from '../errors.js';
import { transfer } from '../protocols/file-juggler.js';
import type { ByteRange } from './byte-ranges.js';
import { RangeSender, type ChunkAnswer, type SendFileOptions } from './range-sender.js';

/** Returns the pause before a retry, milliseconds: 0.1 s, doubled up to 5 s. */
const backOffMs = (attempts: number): number => Math.min(100 * 2 ** attempts, 5000);
/** How many breaks in a row, without progress between them, are retried: for more than two minutes. */
const MAX_BREAKS = 30;
/**
 * The pause between two attempts while the receiver's disk is full or fails, and for how long they go on, milliseconds.
 * The sender can do nothing about it, so these attempts don't count as breaks.
 */
const DISK_RETRY = { pauseMs: 3000, patienceMs: 3_600_000 };
/** The time limit of one HELLO, milliseconds. */
const HELLO_TIMEOUT_MS = 3000;
/** How long the File Juggler may take to recreate a bucket, milliseconds. */
const REPAIR_TIMEOUT_MS = 20_000;
/** Errors that a retry would not change. */
const PERMANENT_CODES: ReadonlySet<string> = new Set(['PIW_UNKNOWN_TRANSFER', 'PIW_FILE_CHANGED']);

/**
 * Sends the ranges of a file that the File Juggler requests, until it has all of it: the sender's side of the
 * conversation in protocols/file-juggler.ts, for slaves and importers.
 *
 *     HELLO --FETCH--> publish the range's chunks, CHUNK after each segment --> FETCH: the next range | DONE
 *     any break: drop the range, wait 0.1 s, doubled after each further break, HELLO again
 *     the receiver's disk is full or fails: the same, but every 3 s, for an hour
 *
 * Throws PIW_UNKNOWN_TRANSFER if the receiver no longer expects the file, PIW_FILE_CHANGED if the file is not what
 * was announced, and the error of the last break after MAX_BREAKS in a row without progress.
 */
export async function sendFile(options: SendFileOptions): Promise<void> {
  const { bus, clock, user, session, signal } = options;
  const juggler = new ProtocolClient(bus, transfer, ['slave', user, session, transfer.name]);
  let breaks = 0;
  let diskMs = 0;
  let reportedMessage: string | undefined;
  let answer: ChunkAnswer | undefined;
  for (;;) {
    try {
      answer ??= await juggler.request(
        'HELLO',
        { transfer_id: options.transferId },
        { timeoutMs: HELLO_TIMEOUT_MS, patienceMs: 90_000, ...(signal ? { signal } : {}) },
      );
      if (answer.verb === 'DONE') return;
      const range: ByteRange = { start: answer.offset, end: answer.offset + answer.length };
      answer = await new RangeSender(options, juggler, range).send(() => {
        breaks = 0;
        diskMs = 0;
        reportedMessage = undefined;
      });
    } catch (error) {
      if (signal?.aborted || !(error instanceof PiwError) || PERMANENT_CODES.has(error.code)) throw error;
      answer = undefined;
      const isDiskFailure: boolean = isDiskError(error);
      if (isDiskFailure) {
        if (diskMs >= DISK_RETRY.patienceMs) throw error;
        if (reportedMessage !== error.message) options.onTrouble?.(error);
        reportedMessage = error.message;
        await pause(clock, DISK_RETRY.pauseMs, signal);
        diskMs += DISK_RETRY.pauseMs;
        continue;
      }
      if (breaks >= MAX_BREAKS) throw error;
      options.onTrouble?.(error);
      await pause(clock, backOffMs(breaks), signal);
      breaks += 1;
    }
  }
}

/**
 * Tells the File Juggler that NATS doesn't store this sender's large messages; resolves when that is repaired or has
 * failed.
 */
export async function reportNotStored({
  bus,
  user,
  session,
  onTrouble,
}: Pick<SendFileOptions, 'bus' | 'user' | 'session' | 'onTrouble'>): Promise<void> {
  const juggler = new ProtocolClient(bus, transfer, ['slave', user, session, transfer.name]);
  try {
    await juggler.request('UNSTORED', {}, { timeoutMs: REPAIR_TIMEOUT_MS, once: true });
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    onTrouble?.(error);
  }
}
