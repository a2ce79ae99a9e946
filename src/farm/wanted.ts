import { Client } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';
import { SimpleIndex, type IndexProject } from '../pypi/index-reader.js';
import { newest, releases } from '../pypi/releases.js';
import { logPath } from '../site/layout.js';
import type { PackageName } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';

export interface Requirement {
  readonly name: PackageName;
  readonly version: string | undefined;
}

/** One version that was asked for, and what has become of it. */
export interface Wanted {
  readonly name: PackageName;
  /** As the index spells it; what was typed where it has no such version. */
  readonly version: string | undefined;
  /** No version was named: those that come after it are built, too. */
  readonly follow: boolean;
  state: 'waiting' | 'published' | 'failed';
  /** For people, once it has failed. */
  why: string | undefined;
  /** The wheels that the index names, once it is published. */
  filenames: readonly string[];
}

/**
 * What the index has of these requirements: the version that is named, or the newest that can be
 * built. Raises PIW_INDEX when the index can't be read.
 */
export async function resolve(index: SimpleIndex, requirements: readonly Requirement[]): Promise<Wanted[]> {
  const wanted: Wanted[] = [];
  for (const { name, version } of requirements) {
    const project = await index.project(name);
    const one = (why?: string, spelled = version): Wanted => ({
      name,
      version: spelled,
      follow: version === undefined,
      state: why === undefined ? 'waiting' : 'failed',
      why,
      filenames: [],
    });
    if (project === undefined || 'notModified' in project)
      wanted.push(one(`the index has no package ${name}`));
    else wanted.push(choose(project, version, one));
  }
  return wanted;
}

function choose(
  project: IndexProject,
  version: string | undefined,
  one: (why?: string, spelled?: string) => Wanted,
): Wanted {
  const found = releases(project);
  if (version === undefined) {
    const latest = newest(found);
    return latest ? one(undefined, latest.version) : one(`the index has no source of ${project.name}`);
  }
  const release = found.find((candidate) => sameVersion(candidate.version, version));
  if (!release) return one(`the index has no version ${version} of ${project.name}`);
  if (!release.hasSdist) return one(`the index has no source of ${project.name} ${version}`, release.version);
  return one(undefined, release.version);
}

/**
 * Looks what has become of those that still wait: published means that the index at `url` names a
 * wheel of it for every target that the database knows. Who isn't patient doesn't wait for what is tried again
 * later, after a failure that may pass.
 */
export async function look(
  bus: Bus,
  url: string,
  wanted: readonly Wanted[],
  { patient }: { readonly patient: boolean },
): Promise<void> {
  const database = new Client(bus, oracle, undefined, { timeoutMs: 5000, patienceMs: 10_000 });
  for (const one of wanted) {
    if (one.state !== 'waiting') continue;
    const { project } = await database.ask('PROJECT', { package: one.name });
    const version = project?.versions.find((candidate) => candidate.version === one.version);
    if (!version || version.targets.length === 0) continue;
    const skip = version.skip ?? project?.skip ?? null;
    if (skip !== null) {
      Object.assign(one, {
        state: 'failed',
        why: `it is skipped here: ${skip}`,
      });
      continue;
    }
    const passing = version.targets.find(({ held_until }) => held_until !== null);
    const open = version.targets.some(({ state }) => state === 'waiting' || state === 'building');
    const failed = version.targets.find(({ state }) => state === 'failed') ?? (patient ? undefined : passing);
    if (failed && (!open || failed === passing)) {
      const why = failed.reason ?? `failed as ${failed.failure_class ?? 'other'}`;
      const log = failed.build_id === null ? '' : ` (log: ${logPath(failed.build_id, 'txt')}.gz)`;
      const retry = failed === passing ? '; this may pass: run it again' : '';
      Object.assign(one, { state: 'failed', why: `${why}${log}${retry}` });
      continue;
    }
    const filenames = [
      ...new Set(version.targets.flatMap(({ filename }) => (filename === null ? [] : [filename]))),
    ];
    if (open || filenames.length === 0) continue;
    const listed = await listing(url, one.name);
    if (!filenames.every((name) => listed.has(name))) continue;
    Object.assign(one, { state: 'published', filenames });
  }
}

/** The filenames that the farm's own index offers. */
async function listing(url: string, name: PackageName): Promise<ReadonlySet<string>> {
  try {
    const project = await new SimpleIndex(`${url}simple/`).project(name);
    return new Set(project && 'files' in project ? project.files.map(({ filename }) => filename) : []);
  } catch (error) {
    // The web server is being started again; the next look asks again.
    if (error instanceof PiwError) return new Set();
    throw error;
  }
}
