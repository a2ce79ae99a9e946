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
} from '../model/fields.js';
import { MAX_SMALL_FILE_BYTES } from '../model/file-state.js';
import { Protocol } from './protocol.js';
import { Type, type Static } from '../model/schema.js';

/** This range is missing: send it. */
const fetchAnswer = { FETCH: { offset: Count, length: Count } };
/** Done: nothing is missing, or the request has been carried out. */
const done = { DONE: {} };

/**
 * The transfer of a file from a slave or an importer to the File Juggler.
 *
 * The sender says HELLO with the transfer's id, which came with SEND. The answer is FETCH with a range that is still
 * missing (at first, the whole file) or DONE. The sender writes the range's bytes as chunks of an object in its own
 * bucket (transferObjectName names it), and says CHUNK for each segment of SEGMENT_BYTES, without waiting for the
 * answers while at most SEND_WINDOW_BYTES are unacknowledged. NATS acknowledges none of it: only the File Juggler knows
 * what has arrived. CHUNK is answered when the segment's bytes are
 * written: by FETCH with the first range that is now missing, or DONE. So a range that begins before the end of that
 * segment was lost; the answer to the last segment says what to send next. After a break on either side, the sender
 * says HELLO again.
 */
export const transfer = new Protocol('file', {
  /** The sender has this file. */
  HELLO: { fields: { transfer_id: SubjectToken }, answers: { ...fetchAnswer, ...done } },
  /** The sender has sent this range. */
  CHUNK: { fields: { offset: Count, length: Count }, answers: { ...fetchAnswer, ...done } },
  /** NATS doesn't store this sender's large messages. DONE: it does again, in a new bucket if necessary. */
  UNSTORED: { fields: {}, answers: done },
});

/** The most bytes of a segment, which one CHUNK acknowledges: two chunks. On a slow link, segments are smaller. */
export const SEGMENT_BYTES = 2 * 960 * 1024;
/**
 * How many bytes of a file may be sent and not yet acknowledged. With 16 MB, a file arrives at 221 instead of 212 MB/s,
 * but the File Juggler, in whose memory they wait for the disk, takes 112 instead of 86 MB (measured with 8 MB).
 */
export const SEND_WINDOW_BYTES = 10 * 1024 * 1024;

/**
 * The stamp of a published file, which changes whenever the file is published or reserved again, even with the same
 * bytes, and the age of the stamp.
 */
const FileStamp = Type.Object(
  {
    stamp: ShortText,
    /** Seconds since the file got the stamp. */
    age_s: Seconds,
  },
  { additionalProperties: false },
);
export type FileStamp = Static<typeof FileStamp>;

const verifyAnswers = {
  /** The file is published under this name. */
  VERIFIED: {
    filename: FileName,
    /** The SHA-256 of the METADATA, which is published beside it. */
    metadata_sha256: Sha256,
    requires_python: orNull(ShortText),
    core_metadata: CoreMetadata,
    stamp: ShortText,
  },
  /** The transfer was damaged: bytes are missing or wrong. The sender has to send them again. */
  AGAIN: { reason: ShortText },
  /** The farm's own disk is full or failing, whatever the file is. What has arrived stays; repeat VERIFY later. */
  LATER: { code: ShortText, reason: ShortText },
  /** The file can never be published: it is not a valid wheel, or another file has its name. */
  REFUSED: { code: ShortText, reason: ShortText, file_stamp: orNull(FileStamp) },
  /**
   * Another file has this name. If that is an earlier build of the same, VERIFY with `rebuilt` may give a build tag.
   */
  TAKEN: { reason: ShortText, file_stamp: orNull(FileStamp) },
};
/** Wheels that were ever published: [filename, SHA-256]. */
export const PublishedFiles = listOf(Type.Tuple([FileName, Sha256]), 100_000);
export type PublishedFiles = Static<typeof PublishedFiles>;

/**
 * The fields of VERIFY. `rebuilt`: an existing file of this name is an earlier build of the same wheel, so that the new
 * file doesn't take another one's place. `past`: all files ever published of this project and version, including those
 * removed since. Installers and mirrors remember a name with its hash, so none of these names may ever get other
 * contents.
 */
const verifyFields = {
  transfer_id: SubjectToken,
  package: Package,
  /** An existing file of this name is an earlier build of the same wheel. */
  rebuilt: Flag,
  /** All files ever published of this project and version. */
  past: PublishedFiles,
};

/** The requests of other actors to the File Juggler. */
export const fileJuggler = new Protocol('file-juggler', {
  /** Announces a file from the sender whose user is `sender`. Idempotent. */
  EXPECT: {
    fields: { transfer_id: SubjectToken, sender: SubjectToken, file_state: FileTuple },
    /** The transfer id for the sender, which includes the name of the juggler that owns the transfer. */
    answers: { EXPECTED: { transfer_id: SubjectToken } },
  },
  /**
   * Checks that a transfer is complete and as announced, and publishes the file with its metadata beside it. VERIFIED
   * also if the file was published before with the same contents, even under a build tag. If the name is taken by other
   * contents, the file is REFUSED or gets the next build tag, depending on the configuration; it gets one only if it
   * was `rebuilt`, and is TAKEN otherwise. If the name is free, but had other contents in `past`, the answer is REFUSED
   * with PIW_NAME_SPENT.
   */
  VERIFY: { fields: verifyFields, answers: verifyAnswers },
  /** Ends a transfer whose file is no longer wanted, and deletes what has arrived of it. */
  FORGET: { fields: { transfer_id: SubjectToken }, answers: done },
  /** The stamp of a published file; null: the file does not exist. */
  GETSTAMP: {
    fields: { package: Package, filename: FileName },
    answers: { STAMP: { file_stamp: orNull(FileStamp) } },
  },
  /**
   * Reserves a published file for a build that will be logged soon, so that nobody removes it until then. Null: the
   * file does not exist.
   */
  RESERVE: {
    fields: { package: Package, filename: FileName },
    answers: { STAMP: { file_stamp: orNull(FileStamp) } },
  },
  /**
   * Removes a published file and its metadata if it still has this stamp. KEPT: it has been published or reserved since.
   * Deciding that a file may be removed and removing it are two steps, and the request may be repeated: the stamp from
   * before the decision makes both safe.
   */
  REMOVE: {
    fields: { package: Package, filename: FileName, stamp: ShortText },
    answers: { ...done, KEPT: {} },
  },
  /** The `total` and `free` bytes of the file system that holds the output path. */
  STATVFS: { fields: {}, answers: { STATVFS: { total: Count, free: Count } } },
});

/**
 * Requests that one File Juggler forwards to the one that owns the transfer, on the owner's own subject: only the owner
 * writes the transfer's file. If nobody answers, the owner is gone, and the forwarding juggler takes the transfer over.
 */
export const juggler = new Protocol('juggler', {
  /** HELLO of the conversation `file`, which this user said in this session. */
  HELLO: {
    fields: { transfer_id: SubjectToken, user: SubjectToken, session: SubjectToken },
    answers: { ...fetchAnswer, ...done },
  },
  /** VERIFY of the conversation `file-juggler`. */
  VERIFY: { fields: verifyFields, answers: verifyAnswers },
  /** FORGET of the conversation `file-juggler`. */
  FORGET: { fields: { transfer_id: SubjectToken }, answers: done },
});

/**
 * Returns a transfer id that includes the name of the juggler that owns the transfer, so that nobody has to search it.
 */
export const ownedTransferId = (id: string, juggler: string): string => `${id}_${juggler}`;

/** Splits such an id into its parts; `juggler` is undefined if the id names none. */
export function parseTransferId(transferId: string): {
  readonly id: string;
  readonly juggler: string | undefined;
} {
  const separatorIndex = transferId.lastIndexOf('_');
  if (separatorIndex < 0) return { id: transferId, juggler: undefined };
  return { id: transferId.slice(0, separatorIndex), juggler: transferId.slice(separatorIndex + 1) };
}

/**
 * Returns the name of the object for bytes of a transfer, whichever juggler owns it: always the same for a small file,
 * and for a larger one a name with a token of the sender's for each range.
 */
export function transferObjectName(transferId: string, size: number, token: () => string): string {
  const { id } = parseTransferId(transferId);
  return size <= MAX_SMALL_FILE_BYTES ? `file.${id}` : `file.${id}.${token()}`;
}

/** Returns the id of the transfer that an object belongs to. */
export const transferIdOf = (object: string): string => object.split('.', 2)[1] ?? '';

/** Returns the name of the bucket that a user writes to; the user's permissions on NATS contain it. */
export const userBucketName = (prefix: string, user: string): string => `${prefix}-slave-${user}`;
