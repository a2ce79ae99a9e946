import { createHash } from 'node:crypto';
import type { IndexedFile } from '../../../src/model/project.js';
import type { SimpleProject } from '../../../src/site/simple/render.js';
import { metadataBytes, wheelBytes } from './wheels.js';

/**
 * The pages that writer.ts writes, as a function of a project's name and a number, so that a reader who finds
 * the number on a page knows what must be on all of it. No name of a project or a file is ever reused. So if a
 * page still lists a file that a reader has found missing, that is a fault: it can't be a new file.
 *
 * A project has four or five versions, and in every six states one is added and the oldest is removed:
 *
 *     0  four versions
 *     1  the newest version is yanked, with a reason
 *     2  no version is yanked, and there is a fifth
 *     3  the second version is yanked, without a reason
 *     4  no version is yanked, and the project is archived
 *     5  the project is active again, and its oldest version is removed
 */
export const LAST_STATE = 59;

/** One state of a project. */
export interface PageState {
  readonly versions: readonly string[];
  readonly archived: boolean;
  /** The reason for yanking, by version. */
  readonly yanked: ReadonlyMap<string, string>;
}

export function stateOf(n: number): PageState {
  const [cycle, phase] = [Math.floor(n / 6), n % 6];
  const [from, to] = [cycle + (phase === 5 ? 1 : 0), cycle + (phase < 2 ? 3 : 4)];
  const versions = Array.from({ length: to - from + 1 }, (_, i) => `1.${from + i}`);
  const yanked = new Map<string, string>();
  if (phase === 1) yanked.set(versions.at(-1) ?? '', `"broken" in <${n}>`);
  if (phase === 3) yanked.set(versions[1] ?? '', '');
  return { versions, archived: phase === 4, yanked };
}

export const filenameOf = (name: string, version: string): string => `${name}-${version}-py3-none-any.whl`;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** The digests of a file, by its name; they are needed again and again. */
const digests = new Map<
  string,
  { readonly wheel: string; readonly metadata: string; readonly size: number }
>();
const MAX_CACHED_DIGESTS = 10_000;

export function digestsOf(name: string, version: string) {
  const key = filenameOf(name, version);
  const cached = digests.get(key);
  if (cached) return cached;
  const wheel = wheelBytes(name, version);
  const computed = {
    wheel: sha256(wheel),
    metadata: sha256(metadataBytes(name, version)),
    size: wheel.length,
  };
  if (digests.size >= MAX_CACHED_DIGESTS) digests.clear();
  digests.set(key, computed);
  return computed;
}

/** Encodes the state of a page: every file carries it, so a page that mixes two states has two. */
export const requiresPythonOf = (n: number): string => `>=3.8,!=2.${n}`;
export function stateNumberOf(requiresPython: string | null): number | undefined {
  const match = /^>=3\.8,!=2\.(\d+)$/.exec(requiresPython ?? '');
  return match ? Number(match[1]) : undefined;
}

/** Returns state `n` of a project, as the input of piw's SimpleIndexWriter. */
export function projectOf(name: string, n: number): SimpleProject {
  const { versions, archived, yanked } = stateOf(n);
  const files = versions.map((version): IndexedFile => {
    const { wheel, metadata, size } = digestsOf(name, version);
    return {
      filename: filenameOf(name, version),
      version,
      filesize: size,
      sha256: wheel,
      metadata_sha256: metadata,
      requires_python: requiresPythonOf(n),
      yanked: yanked.get(version) ?? null,
      uploaded: Date.UTC(2026, 0, 2),
    };
  });
  return { name, status: archived ? 'archived' : 'active', versions, files };
}
