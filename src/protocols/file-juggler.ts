import {
  CoreMetadata,
  Count,
  FileName,
  FileTuple,
  Flag,
  Package,
  Seconds,
  Sha256,
  ShortText,
  SubjectToken,
  listOf,
  orNull,
} from './fields.js';
import { MAX_SMALL_FILE_BYTES } from '../states/transfer-state.js';
import { Protocol } from './protocol.js';
import { Type, type Static } from './schema.js';

const fetchAnswer = { FETCH: { offset: Count, length: Count } };
const done = { DONE: {} };

/**
 * How a file travels from a slave or an importer to the File Juggler.
 *
 * The sender says HELLO with the transfer's id, which came with SEND. The answer is FETCH with a
 * range that is still missing (all of it, at first) or DONE. The sender writes the range's bytes as
 * chunks of an object in its own bucket (objectOf says how that is called), and says CHUNK for each
 * PIECE of it, without waiting for the answer, as long as no more than a WINDOW of bytes is unanswered.
 * CHUNK is answered when those bytes are written: by FETCH with the first range that is missing now, or
 * DONE. So what comes before the end of that piece got lost; the answer to the last piece says what to
 * send next. After a break on either side: HELLO again.
 */
export const transfer = new Protocol('file', {
  HELLO: { fields: { transfer_id: SubjectToken }, answers: { ...fetchAnswer, ...done } },
  CHUNK: { fields: { offset: Count, length: Count }, answers: { ...fetchAnswer, ...done } },
  /** NATS doesn't store what this sender writes to its bucket. DONE: it does now, in a new bucket if need be. */
  UNSTORED: { fields: {}, answers: done },
});

/** Bytes that one CHUNK is about. */
export const SEGMENT_BYTES = 1024 * 1024;
/** Bytes that may be under way of one file: where NATS is near, within `nearMs` there and back, and on a long line. */
export const SEND_WINDOW = { nearBytes: 8 * 1024 * 1024, farBytes: 16 * 1024 * 1024, maxNearRttMs: 4 };

/**
 * How a published file stands: a stamp that changes whenever it is published or claimed again, also with the same bytes;
 * and how long ago that was.
 */
const FileStamp = Type.Object({ stamp: ShortText, age_s: Seconds }, { additionalProperties: false });

const verifyAnswers = {
  /** It is in its place, under this name. */
  VERIFIED: {
    filename: FileName,
    metadata_sha256: Sha256,
    requires_python: orNull(ShortText),
    core_metadata: CoreMetadata,
    stamp: ShortText,
  },
  /** The transfer was damaged: bytes are missing or wrong. Send it again. */
  AGAIN: { reason: ShortText },
  /** The farm's own disk is in the way, and says nothing of the file. What has arrived stays; say VERIFY again. */
  LATER: { code: ShortText, reason: ShortText },
  /** It will never do: not a wheel, or another file has this name. */
  REFUSED: { code: ShortText, reason: ShortText, standing: orNull(FileStamp) },
  /** Another file has this name. If it was built again, it may have a build tag: send it again, and say so. */
  TAKEN: { reason: ShortText, standing: orNull(FileStamp) },
};
/** Wheels that were ever published: [filename, SHA-256]. */
export const PublishedFiles = listOf(Type.Tuple([FileName, Sha256]), 100_000);
export type PublishedFiles = Static<typeof PublishedFiles>;

/**
 * `rebuilt`: whatever has its name is an earlier build of the same, so it is no other's work that it takes over.
 * `past`: what was ever published of this project and version, also what was removed since. Installers and mirrors
 * hold on to a name with its hash, so no name of these may ever stand for other bytes.
 */
const verifyFields = { transfer_id: SubjectToken, package: Package, rebuilt: Flag, past: PublishedFiles };

/** What the other actors ask of the File Juggler. */
export const fileSystem = new Protocol('fs', {
  /** A file is going to come, from the sender whose user is `sender`. Expecting twice is harmless. */
  EXPECT: {
    fields: { transfer_id: SubjectToken, sender: SubjectToken, file_state: FileTuple },
    /** What the sender is to call the transfer: with the name of the juggler who has it in its hands. */
    answers: { EXPECTED: { transfer_id: SubjectToken } },
  },
  /**
   * Is the transfer whole and as announced? Then it is in its place now, with its metadata beside it.
   * VERIFIED also says so of a file that was there before with the same bytes, be it under a build tag. With
   * other bytes it is REFUSED, or gets the next build tag, as configured: the latter only if it was `rebuilt`, and
   * is TAKEN otherwise. Where the name stands for other bytes in `past` and is free now, REFUSED says
   * PIW_NAME_SPENT.
   */
  VERIFY: { fields: verifyFields, answers: verifyAnswers },
  /** Ends a transfer whose file is not wanted any more; what has arrived of it is removed. */
  FORGET: { fields: { transfer_id: SubjectToken }, answers: done },
  /** How a published file stands; null: there is none. */
  STANDING: {
    fields: { package: Package, filename: FileName },
    answers: { STANDS: { standing: orNull(FileStamp) } },
    reads: true,
  },
  /** Claims a published file for a build that is logged soon: nobody removes it meanwhile. Null: it is gone. */
  CLAIM: {
    fields: { package: Package, filename: FileName },
    answers: { STANDS: { standing: orNull(FileStamp) } },
  },
  /**
   * Removes a published file and its metadata if it still has this stamp. KEPT: somebody has published or claimed it
   * since. To decide that a file may go and to remove it are two steps, and this may be said twice: the stamp from
   * before the decision makes both harmless.
   */
  REMOVE: {
    fields: { package: Package, filename: FileName, stamp: ShortText },
    answers: { ...done, KEPT: {} },
  },
  /** Total and free bytes of the file system that holds the output path. */
  STATVFS: { fields: {}, answers: { STATVFS: { total: Count, free: Count } }, reads: true },
});

/**
 * What one File Juggler hands on to another, who has the transfer in its hands, on a subject of that one's own:
 * only that one writes to it. Where nobody answers, it is gone, and the transfer is taken over.
 */
export const juggler = new Protocol('juggler', {
  HELLO: {
    fields: { transfer_id: SubjectToken, user: SubjectToken, session: SubjectToken },
    answers: { ...fetchAnswer, ...done },
  },
  VERIFY: { fields: verifyFields, answers: verifyAnswers },
  FORGET: { fields: { transfer_id: SubjectToken }, answers: done },
});

/**
 * The bucket of a user. What is under way is a window for each file; so of each object the last 80 MB are kept, to be
 * read from there after a break: many windows, and the largest message. Older chunks make room; where that is not
 * enough, those of other objects do, and what is missed of them is asked for again.
 */
export const bucketConfig = (name: string) => ({
  name,
  maxAgeMs: 86_400_000,
  maxBytes: 144 * 1024 ** 2,
  lastChunks: 160,
});

/** The id of a transfer with the name of the juggler who has it in its hands, so that nobody looks for that one. */
export const ownedTransferId = (id: string, juggler: string): string => `${id}_${juggler}`;

/** The parts of such an id; one that names no juggler is whole. */
export function parseTransferId(transferId: string): {
  readonly id: string;
  readonly juggler: string | undefined;
} {
  const separatorIndex = transferId.lastIndexOf('_');
  if (separatorIndex < 0) return { id: transferId, juggler: undefined };
  return { id: transferId.slice(0, separatorIndex), juggler: transferId.slice(separatorIndex + 1) };
}

/**
 * The object for bytes of a transfer, whoever has it in hand: of a small file, always the same; of any other, one
 * with a token of the sender's own for each range.
 */
export function transferObjectName(transferId: string, size: number, token: () => string): string {
  const { id } = parseTransferId(transferId);
  return size <= MAX_SMALL_FILE_BYTES ? id : `${id}.${token()}`;
}

/** The id of the transfer that an object is of. */
export const transferIdOf = (object: string): string => object.split('.', 1)[0] ?? '';

/** The bucket that a user writes to; its name stands in the subjects that the user may use. */
export const userBucketName = (prefix: string, user: string): string => `${prefix}-slave-${user}`;
