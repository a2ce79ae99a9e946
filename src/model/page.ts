import { Type, type Static } from './schema.js';
import { Count, ShortText } from './fields.js';

/** The priorities of due pages: those that people install from, those of projects, and the rest. */
export const PAGE_PRIORITIES = ['front', 'projects', 'rest'] as const;
export type PagePriority = (typeof PAGE_PRIORITIES)[number];

/** A page: [kind, argument]. */
export const PageKey = Type.Tuple([Type.String({ maxLength: 20 }), ShortText]);

/** A page that is due: [kind, argument, revision]. The revision increases each time the page becomes due. */
export const DuePage = Type.Tuple([Type.String({ maxLength: 20 }), ShortText, Count]);
export type DuePage = Static<typeof DuePage>;
