import { Count, DONE, Flag, Id, Package, Version, listOf, orNull } from '../model/fields.js';
import { DuePage } from '../model/page.js';
import { Protocol } from './protocol.js';
import { Statistics } from './statistics.js';

const commonVerbs = {
  /** The home page, with these figures. */
  HOME: { fields: { statistics: Statistics }, answers: DONE },
  /** The page of a build's log. */
  LOG: { fields: { build_id: Id }, answers: DONE },
  /** The search: its page, and the lists that it reads. */
  SEARCH: { fields: {}, answers: DONE },
  /** The sitemap, for search engines. */
  SITEMAP: { fields: {}, answers: DONE },
} as const;

/**
 * Requests to write pages, from any actor to the Secretary. Answered as soon as the page is in the backlog; written
 * within a minute, once for several requests.
 */
export const secretary = new Protocol('web', {
  ...commonVerbs,
  /** The package's page in the simple index, and its project page. */
  PKG: { fields: { package: Package }, answers: DONE },
  /** The project page only. */
  PROJECT: { fields: { package: Package }, answers: DONE },
  /** Answered once the index no longer lists any file of the package, so that its files can be removed. */
  DELPKG: { fields: { package: Package }, answers: DONE },
  /** Answered once the index no longer lists any file of the version, so that they can be removed. */
  DELVER: { fields: { package: Package, version: Version }, answers: DONE },
  /** The root of the simple index, which follows by itself when a package's page changes. */
  ROOT: { fields: {}, answers: DONE },
  /**
   * Names `pages` that have become due in the backlog. Only a hint: if it is lost, the Secretary finds them when it next
   * polls the backlog.
   */
  DUE: { fields: { pages: listOf(DuePage, 1000) } },
});

/**
 * Requests to write pages, from the Secretary to a Scribe. Answered when the page is written. Serials only increase.
 */
export const scribe = new Protocol('scribe', {
  ...commonVerbs,
  /**
   * A package's page in the simple index, which gets this `serial`, and its project page. An index page that no longer
   * lists any file is removed if `remove_if_empty` is true, which means that the root doesn't list it. Answered with the
   * serial of the page as it is now (null: it lists no file) and, in `empty_page_remains`, whether a page without files
   * is left that has to be removed.
   */
  PKG: {
    fields: { package: Package, serial: Count, remove_if_empty: Flag },
    answers: {
      /** The pages are written. */
      WRITTEN: { serial: orNull(Count), empty_page_remains: Flag },
    },
  },
  /** The project page only. `serial` is that of the request. */
  PROJECT: { fields: { package: Package, serial: Count }, answers: DONE },
  /** The root of the simple index. All pages with a `serial` up to this one have been written already. */
  ROOT: { fields: { serial: Count }, answers: DONE },
  /** Compresses the existing pages of a package, or (null) of the root. */
  PACK: { fields: { package: orNull(Package) }, answers: DONE },
});
