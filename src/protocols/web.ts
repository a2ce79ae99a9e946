import { Count, DONE, Id, Package, Token, Version, listOf } from './fields.js';
import { Protocol } from './protocol.js';
import { Statistics } from './statistics.js';

/** What is to be written, said to the Secretary by anyone, and by the Secretary to the Scribes. */
const pages = {
  HOME: { fields: { statistics: Statistics }, answers: DONE },
  /** The simple index of the package and its project page. */
  PKG: { fields: { package: Package }, answers: DONE },
  /** The project page only. */
  PROJECT: { fields: { package: Package }, answers: DONE },
  LOG: { fields: { build_id: Id }, answers: DONE },
  SEARCH: { fields: {}, answers: DONE },
  SITEMAP: { fields: {}, answers: DONE },
  DELPKG: { fields: { package: Package }, answers: DONE },
  DELVER: { fields: { package: Package, version: Version }, answers: DONE },
} as const;

/** To the Secretary: answered as soon as it is noted; written within a minute, once for many. */
export const secretary = new Protocol('web', pages);
/** To a Scribe: answered when it is written. */
export const scribe = new Protocol('scribe', pages);

/** Published by a Scribe when a page is on the disk. */
export const written = new Protocol('written', {
  WRITTEN: { fields: { page: Token, packages: listOf(Package, 1000), count: Count } },
});
