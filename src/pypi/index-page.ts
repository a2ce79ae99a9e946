import type { PackageName } from '../wheels/names.js';

/**
 * The contents of a simple index's pages (PEP 503, 691 and their successors), and the parsing of fields that JSON and
 * HTML pages share.
 */

export interface IndexFile {
  readonly filename: string;
  /** An absolute URL. */
  readonly url: string;
  readonly sha256: string | null;
  readonly size: number | null;
  readonly uploadTime: Date | null;
  readonly requiresPython: string | null;
  /** The reason, which may be empty; null if the file isn't yanked. */
  readonly yanked: string | null;
  readonly kind: 'sdist' | 'wheel' | 'other';
  readonly version: string | null;
}

export interface IndexProject {
  readonly name: PackageName;
  readonly files: readonly IndexFile[];
  readonly status: 'active' | 'archived' | 'quarantined' | 'deprecated';
  readonly etag: string | undefined;
  /** The serial of the last event that the page shows; 0 if the index has no serials. */
  readonly serial: number;
}

/** The root page of an index: its projects. */
export interface IndexRoot {
  /** The serial of each project; 0 if the index has no serials. */
  readonly projects: ReadonlyMap<PackageName, number>;
  readonly serial: number;
  readonly etag: string | undefined;
}

/** A file as a page lists it. */
export type ParsedFile = Omit<IndexFile, 'kind' | 'version'>;

/** A project's page. */
export interface ParsedProject {
  readonly files: readonly ParsedFile[];
  readonly status: IndexProject['status'];
  readonly serial: number;
}

/** The names of a root page, each with its serial. */
export interface ParsedRoot {
  readonly names: readonly (readonly [string, number])[];
  readonly serial: number;
}

export const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
export const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';

/** The longest text that messages can carry (ShortText in src/model/fields.ts), characters. */
const MAX_TEXT_CHARS = 1024;
const STATUSES = ['active', 'archived', 'quarantined', 'deprecated'] as const;

/** Returns the reason, cut to MAX_TEXT_CHARS: the file is yanked anyway. */
export const reasonOf = (value: unknown): string | null =>
  typeof value === 'string' ? value.slice(0, MAX_TEXT_CHARS) : null;

/**
 * Returns whether a specifier is longer than messages can carry. Its file is left out: without the specifier, it would
 * be offered to every Python.
 */
export const isTooLong = (specifier: unknown): boolean =>
  typeof specifier === 'string' && specifier.length > MAX_TEXT_CHARS;

export const asText = (value: unknown): string | null =>
  typeof value === 'string' && value.length <= 4096 ? value : null;

export const asSha256 = (value: unknown): string | null =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value) ? value : null;

export const statusOf = (value: unknown): IndexProject['status'] =>
  STATUSES.find((status) => status === value) ?? 'active';

export function asDate(value: unknown): Date | null {
  const date = new Date(typeof value === 'string' ? value : NaN);
  return Number.isNaN(date.getTime()) ? null : date;
}
