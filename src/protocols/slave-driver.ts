import { Type } from '../model/schema.js';
import {
  BuildDetails,
  Count,
  FailureClassName,
  FileName,
  FileTuples,
  Flag,
  Id,
  LeaseId,
  Line,
  BuildOutput,
  Package,
  Seconds,
  Sha256,
  ShortText,
  MachineStats,
  Tag,
  Time,
  SubjectToken,
  Version,
  listOf,
  orNull,
} from '../model/fields.js';
import { Protocol, type AnyAnswer, type Body } from './protocol.js';

/** The slave should end: for this reason. */
const bye = { BYE: { reason: ShortText } };
/** Send this file to the File Juggler, under this id. */
const send = { SEND: { filename: FileName, transfer_id: SubjectToken } };
/** Finished: forget the build. */
const done = { DONE: {} };
/** The master has a problem of its own. The slave keeps what it has built, and repeats its message after `seconds`. */
const wait = { WAIT: { seconds: Seconds, reason: ShortText } };

/** There is nothing for the slave: it should ask again after `seconds`, or when it gets WAKE. */
const sleep = {
  SLEEP: {
    seconds: Seconds,
    /** Whether that is because an administrator has paused the farm or the slave. */
    paused: Flag,
  },
};

/** The limits of a build: total seconds, bytes of log that are kept, bytes of one wheel. */
const BuildLimitsTuple = Type.Tuple([Seconds, Count, Count]);

/** The most lines of one OUTPUT, and the most characters (UTF-16) of each: the rest of a longer line is cut off. */
export const MAX_OUTPUT_LINES = 1000;
export const MAX_OUTPUT_LINE_CHARS = 1000;

/** Lines of a build's output, without control characters. */
export const OutputLines = listOf(
  Type.String({ maxLength: MAX_OUTPUT_LINE_CHARS, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' }),
  MAX_OUTPUT_LINES,
);

/**
 * The protocol between a build slave and the Slave Driver. The slave always speaks first; every answer tells it what to
 * do next, and BYE can be the answer to anything.
 *
 *     HELLO -> HELLO          who I am -> your slave id, and the index to build from
 *     IDLE  -> BUILD | SLEEP  I have nothing to do -> build this | nothing for you, ask again later
 *     REST  -> SLEEP          I can't build now, for this reason -> report again later
 *     BUSY  -> CONT | DONE    I am still building -> continue | stop, the lease is no longer yours
 *     BUILT -> SEND | DONE    this is the result -> send this file | finished, forget the build
 *           -> WAIT           ... the master can't take it now, for this reason -> repeat it later
 *     SENT  -> SEND | DONE    I have sent that file -> send it again, or the next one | finished, forget the build
 *           -> WAIT           ... the file has arrived, but the master can't publish it now -> repeat it later
 *     BYE   -> BYE            I am leaving
 *
 * Beside it, the output of a build that somebody follows (FOLLOW, below) is sent while the build is under way. That
 * changes nothing about the session:
 *
 *     OUTPUT -> CONT | DONE   these are its next lines -> go on | nobody follows it
 */
export const slaveDriver = new Protocol('slave', {
  /** The slave introduces itself, and gets a number. */
  HELLO: {
    fields: {
      /** VERSION/PROTOCOL of its program: see src/version.ts. */
      version: Line,
      /** The seconds after which it ends a build. */
      build_timeout_s: Seconds,
      /** The seconds between two BUSY. */
      busy_interval_s: Seconds,
      py_version_tag: Tag,
      /** The ABI tag that it builds for, e.g. `cp311`. */
      abi_tag: Tag,
      /** The platform tag that it builds for, e.g. `linux_aarch64`. */
      platform_tag: Tag,
      label: Line,
      os_name: Line,
      os_version: Line,
      board: orNull(Line),
      /** What the machine lacks that builds may need, each in a few words. */
      lacks: listOf(Line, 10),
      /** Its clock. */
      clock: Time,
    },
    answers: {
      /** The slave is admitted. */
      HELLO: {
        slave_id: Id,
        /** The index to build from, for the whole session. */
        index_url: ShortText,
        /** Further indexes for build requirements, separated by spaces; null: none. */
        extra_index_url: orNull(ShortText),
      },
      ...bye,
    },
  },
  /** The slave has nothing to do. */
  IDLE: {
    fields: { stats: MachineStats },
    answers: {
      ...sleep,
      /** Build this. */
      BUILD: {
        lease: LeaseId,
        package: Package,
        version: Version,
        abi: Tag,
        sdist_url: orNull(ShortText),
        sdist_sha256: orNull(Sha256),
        limits: BuildLimitsTuple,
      },
      ...bye,
    },
  },
  /** The slave can't build now. */
  REST: {
    fields: { reason: ShortText, stats: MachineStats },
    answers: { ...sleep, ...bye },
  },
  /** The slave is still building. */
  BUSY: {
    fields: { lease: LeaseId, stats: MachineStats },
    answers: {
      /** Continue. */
      CONT: {},
      ...done,
      ...bye,
    },
  },
  /** The build has ended, with this result. */
  BUILT: {
    fields: {
      lease: LeaseId,
      status: Flag,
      failure_class: orNull(FailureClassName),
      duration_s: Seconds,
      output: BuildOutput,
      details: BuildDetails,
      /** The wheels; a failed build has none. */
      files: FileTuples,
    },
    answers: { ...send, ...wait, ...done, ...bye },
  },
  /** The slave has sent this file. */
  SENT: {
    fields: { lease: LeaseId, filename: FileName },
    answers: { ...send, ...wait, ...done, ...bye },
  },
  /** The next lines of the output of a build that somebody follows. */
  OUTPUT: {
    fields: {
      lease: LeaseId,
      /** The number of the first line; the lines of a build's output that aren't empty are numbered from 0. */
      first: Count,
      lines: OutputLines,
    },
    answers: { CONT: {}, ...done },
  },
  /** The slave ends; its lease is released. */
  BYE: { fields: {}, answers: bye },
});

export type SlaveVerbs = typeof slaveDriver.verbs;
export type SlaveHello = Body<SlaveVerbs, 'HELLO'>;
export type BuiltMessage = Body<SlaveVerbs, 'BUILT'>;
export type SlaveAnswer = AnyAnswer<SlaveVerbs>;
export type BuildOrder = Extract<SlaveAnswer, { verb: 'BUILD' }>;

/** Published by the Slave Driver to a slave, on the slave's own subject. */
export const wake = new Protocol('wake', {
  /** There may be something for the slave, so it should send IDLE or BUSY now. */
  WAKE: { fields: {} },
  /**
   * Somebody follows this build: for some seconds, the slave should send its output from line `from` on (OUTPUT), as
   * far back as it has it. A slave of an earlier version takes it for WAKE.
   */
  FOLLOW: { fields: { lease: LeaseId, from: Count, seconds: Seconds } },
});
export type WakeVerbs = typeof wake.verbs;
