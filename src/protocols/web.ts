import { Count, DONE, Flag, Id, Package, Version, orNull } from './fields.js';
import { Protocol } from './protocol.js';
import { Statistics } from './statistics.js';

const commonVerbs = {
  HOME: { fields: { statistics: Statistics }, answers: DONE },
  LOG: { fields: { build_id: Id }, answers: DONE },
  SEARCH: { fields: {}, answers: DONE },
  SITEMAP: { fields: {}, answers: DONE },
} as const;

/** What is to be written, said by anyone: answered as soon as it is noted; written within a minute, once for many. */
export const secretary = new Protocol('web', {
  ...commonVerbs,
  /** The simple index of the package and its project page. */
  PKG: { fields: { package: Package }, answers: DONE },
  /** The project page only. */
  PROJECT: { fields: { package: Package }, answers: DONE },
  /** Answered when the index names nothing of it any more, so that its files can go. */
  DELPKG: { fields: { package: Package }, answers: DONE },
  DELVER: { fields: { package: Package, version: Version }, answers: DONE },
  /** The root of the simple index, which follows by itself when a package's page changes. */
  ROOT: { fields: {}, answers: DONE },
});

/** The same from the Secretary to a Scribe: answered when it is written. A serial is higher each time. */
export const scribe = new Protocol('scribe', {
  ...commonVerbs,
  /**
   * A package's page of the simple index, and its project page. A page that names no file any more goes once
   * it may `leave`: when the root doesn't name it. Answered with the serial of the page as it stands there
   * now; null: it names nothing, and `stands` as long as it is there.
   */
  PKG: {
    fields: { package: Package, serial: Count, leave: Flag },
    answers: { WRITTEN: { serial: orNull(Count), stands: Flag } },
  },
  PROJECT: { fields: { package: Package, serial: Count }, answers: DONE },
  /** The root of the simple index; whatever has a serial up to this one is written by now. */
  ROOT: { fields: { serial: Count }, answers: DONE },
  /** Compresses what stands there of a package, or (null) the root. */
  PACK: { fields: { package: orNull(Package) }, answers: DONE },
});
