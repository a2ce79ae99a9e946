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
 */
const bye = { BYE: { reason: ShortText } };
const send = { SEND: { filename: FileName, transfer_id: SubjectToken } };
const done = { DONE: {} };
/** The master has a problem of its own. The slave keeps what it has built, and repeats its message after `seconds`. */
const wait = { WAIT: { seconds: Seconds, reason: ShortText } };

/** The limits of a build: total seconds, bytes of log that are kept, bytes of one wheel. */
const BuildLimitsTuple = Type.Tuple([Seconds, Count, Count]);

export const slaveDriver = new Protocol('slave', {
  HELLO: {
    fields: {
      version: Line,
      build_timeout_s: Seconds,
      busy_interval_s: Seconds,
      py_version_tag: Tag,
      abi_tag: Tag,
      platform_tag: Tag,
      label: Line,
      os_name: Line,
      os_version: Line,
      board: orNull(Line),
      /** What the machine lacks that builds may need, each in a few words. */
      lacks: listOf(Line, 10),
      clock: Time,
    },
    answers: { HELLO: { slave_id: Id, index_url: ShortText, extra_index_url: orNull(ShortText) }, ...bye },
  },
  IDLE: {
    fields: { stats: MachineStats },
    answers: {
      SLEEP: { seconds: Seconds, paused: Flag },
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
  REST: {
    fields: { reason: ShortText, stats: MachineStats },
    answers: { SLEEP: { seconds: Seconds, paused: Flag }, ...bye },
  },
  BUSY: { fields: { lease: LeaseId, stats: MachineStats }, answers: { CONT: {}, ...done, ...bye } },
  BUILT: {
    fields: {
      lease: LeaseId,
      status: Flag,
      failure_class: orNull(FailureClassName),
      duration_s: Seconds,
      output: BuildOutput,
      details: BuildDetails,
      files: FileTuples,
    },
    answers: { ...send, ...wait, ...done, ...bye },
  },
  SENT: {
    fields: { lease: LeaseId, filename: FileName },
    answers: { ...send, ...wait, ...done, ...bye },
  },
  BYE: { fields: {}, answers: bye },
});

export type SlaveVerbs = typeof slaveDriver.verbs;
export type SlaveHello = Body<SlaveVerbs, 'HELLO'>;
export type BuiltMessage = Body<SlaveVerbs, 'BUILT'>;
export type SlaveAnswer = AnyAnswer<SlaveVerbs>;
export type BuildOrder = Extract<SlaveAnswer, { verb: 'BUILD' }>;

/** Sent to a slave on its own subject: there may be something for it, so it should send IDLE or BUSY now. */
export const wake = new Protocol('wake', { WAKE: { fields: {} } });
