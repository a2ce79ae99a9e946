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
/** Other spellings of a package's name. */
export const Aliases = listOf(ShortText, 1000);
/** Send this file to the File Juggler, under this id. */
const send = { SEND: { filename: FileName, transfer_id: SubjectToken } };
/** The farm's own disk is full or failing. The farm keeps what has arrived; repeat the request after `seconds`. */
const wait = { WAIT: { seconds: Seconds, reason: ShortText } };
/** The import is complete. */
const imported = {
  DONE: {
    /** The names under which the files are published, possibly with other build tags than announced. */
    filenames: listOf(FileName, 100),
  },
};

/**
 * Requests of the administrator's commands to Mr Chase. Each import has a session of its own, which is part of the
 * subject (`<prefix>.chase.<session>.<VERB>`), so that several imports can run at once.
 */
export const chase = new Protocol('chase', {
  /**
   * Announces the wheels of a build that no slave of this farm has made. The package and the version are created if
   * they are missing. Answered with the first file to send, or with DONE.
   */
  IMPORT: {
    fields: {
      /** The ABI for which the build is logged; null: the one in the files' tags, otherwise the lowest registered one. */
      abi: orNull(Tag),
      package: Package,
      version: Version,
      status: Flag,
      duration_s: Seconds,
      output: BuildOutput,
      /** The wheels; a failed build has none. */
      files: FileTuples,
    },
    answers: { ...send, ...wait, ...imported },
  },
  /** That file has been sent: it is verified and published, and the answer names the next one. */
  SENT: { fields: { filename: FileName }, answers: { ...send, ...wait, ...imported } },
  /** Adds a package, or changes one. */
  ADDPKG: {
    fields: {
      package: Package,
      /** A line about it; null leaves it as it is. */
      description: orNull(Text),
      /** Why it is not to be built from now on; null leaves that as it is. */
      skip: orNull(ShortText),
      /** Build it again. */
      unskip: Flag,
      aliases: Aliases,
    },
    answers: DONE,
  },
  /** Adds a version of a package, and requests its builds, or changes one. */
  ADDVER: {
    fields: {
      package: Package,
      version: Version,
      /** When it was released; null: now. */
      released: orNull(Time),
      /** Why it is not to be built from now on; null leaves that as it is. */
      skip: orNull(ShortText),
      /** Build it again. */
      unskip: Flag,
      /** The reason for which it is yanked, which may be empty; null leaves that as it is. */
      yanked: orNull(ShortText),
      /** It is not yanked any longer. */
      unyank: Flag,
      aliases: Aliases,
    },
    answers: DONE,
  },
  /** Removes a package with its builds, files and pages; answered when nobody can install it. */
  REMPKG: {
    fields: {
      package: Package,
      /** Why it stays known and is not built; null: it is deleted, and may come back. */
      skip: orNull(ShortText),
    },
    answers: DONE,
  },
  /** Deletes the builds and files of a version, which is then built again unless it is skipped; or yanks it. */
  REMVER: {
    fields: {
      package: Package,
      version: Version,
      /** Why it is not built again, or (with `yank`) why it is yanked; null: no reason. */
      skip: orNull(ShortText),
      /** Yank it, and delete nothing. */
      yank: Flag,
    },
    answers: DONE,
  },
  /** Has pages written again. */
  REBUILD: {
    fields: {
      /** Which pages. */
      part: Type.Union(SITE_PARTS.map((part) => Type.Literal(part))),
      /** Only those of this package; null: those of all. */
      package: orNull(Package),
    },
    answers: DONE,
  },
  RETRY,
});
