import { Type } from '../model/schema.js';
import {
  DONE,
  FileName,
  FileTuples,
  Flag,
  BuildOutput,
  Package,
  Seconds,
  ShortText,
  Tag,
  Text,
  Time,
  SubjectToken,
  Version,
  listOf,
  orNull,
} from '../model/fields.js';
import { Protocol } from './protocol.js';
import { RETRY } from './retry.js';

/** The parts of the site that can be rewritten on request. */
export const SITE_PARTS = ['HOME', 'SEARCH', 'PROJECT', 'INDEX', 'LOG', 'SITEMAP', 'ALL'] as const;
export type SitePart = (typeof SITE_PARTS)[number];
const Aliases = listOf(ShortText, 1000);
const send = { SEND: { filename: FileName, transfer_id: SubjectToken } };
/** The farm's own disk is full or failing. The farm keeps what has arrived; repeat the request after `seconds`. */
const wait = { WAIT: { seconds: Seconds, reason: ShortText } };
/** The names under which the files are published, possibly with other build tags than announced. */
const imported = { DONE: { filenames: listOf(FileName, 100) } };

/**
 * Requests of the administrator's commands to Mr Chase. Each import has a session of its own, which is part of the
 * subject (`<prefix>.chase.<session>.<VERB>`), so that several imports can run at once.
 */
export const chase = new Protocol('chase', {
  IMPORT: {
    fields: {
      abi: orNull(Tag),
      package: Package,
      version: Version,
      status: Flag,
      duration_s: Seconds,
      output: BuildOutput,
      files: FileTuples,
    },
    answers: { ...send, ...wait, ...imported },
  },
  /** That file has been sent. */
  SENT: { fields: { filename: FileName }, answers: { ...send, ...wait, ...imported } },
  ADDPKG: {
    fields: {
      package: Package,
      description: orNull(Text),
      skip: orNull(ShortText),
      unskip: Flag,
      aliases: Aliases,
    },
    answers: DONE,
  },
  ADDVER: {
    fields: {
      package: Package,
      version: Version,
      released: orNull(Time),
      skip: orNull(ShortText),
      unskip: Flag,
      yanked: orNull(ShortText),
      unyank: Flag,
      aliases: Aliases,
    },
    answers: DONE,
  },
  REMPKG: { fields: { package: Package, skip: orNull(ShortText) }, answers: DONE },
  REMVER: {
    fields: { package: Package, version: Version, skip: orNull(ShortText), yank: Flag },
    answers: DONE,
  },
  REBUILD: {
    fields: { part: Type.Union(SITE_PARTS.map((part) => Type.Literal(part))), package: orNull(Package) },
    answers: DONE,
  },
  RETRY,
});
