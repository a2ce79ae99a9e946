import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';
import { SimpleIndexClient, type IndexProject } from '../pypi/index-reader.js';
import { newestBuildable, groupByRelease } from '../pypi/releases.js';
import { logPath } from '../site/layout.js';
import type { PackageName } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';

export interface Requirement {
  readonly name: PackageName;
  readonly version: string | undefined;
}

/** One version that was asked for, and what has become of it. */
export interface RequestedVersion {
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
export async function resolveRequirements(
  index: SimpleIndexClient,
  requirements: readonly Requirement[],
): Promise<RequestedVersion[]> {
  const wanted: RequestedVersion[] = [];
  for (const { name, version } of requirements) {
    const project = await index.project(name);
    const toRequested = (why?: string, spelled = version): RequestedVersion => ({
      name,
      version: spelled,
      follow: version === undefined,
      state: why === undefined ? 'waiting' : 'failed',
      why,
      filenames: [],
    });
    if (project === undefined || 'notModified' in project)
      wanted.push(toRequested(`the index has no package ${name}`));
    else wanted.push(chooseVersion(project, version, toRequested));
  }
  return wanted;
}

function chooseVersion(
  project: IndexProject,
  version: string | undefined,
  toRequested: (why?: string, spelled?: string) => RequestedVersion,
): RequestedVersion {
  const available = groupByRelease(project);
  if (version === undefined) {
    const latest = newestBuildable(available);
    return latest
      ? toRequested(undefined, latest.version)
      : toRequested(`the index has no source of ${project.name}`);
  }
  const release = available.find((candidate) => sameVersion(candidate.version, version));
  if (!release) return toRequested(`the index has no version ${version} of ${project.name}`);
  if (!release.hasSdist)
    return toRequested(`the index has no source of ${project.name} ${version}`, release.version);
  return toRequested(undefined, release.version);
}

/**
 * Looks what has become of those that still wait: published means that the index at `url` names a
 * wheel of it for every target that the database knows. Who isn't patient doesn't wait for what is tried again
 * later, after a failure that may pass.
 */
export async function updateStates(
  bus: Bus,
  url: string,
  wanted: readonly RequestedVersion[],
  { patient }: { readonly patient: boolean },
): Promise<void> {
  const database = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 5000, patienceMs: 10_000 });
  for (const request of wanted) {
    if (request.state !== 'waiting') continue;
    const { project } = await database.request('PROJECT', { package: request.name });
    const version = project?.versions.find((candidate) => candidate.version === request.version);
    if (!version || version.targets.length === 0) continue;
    const skip = version.skip ?? project?.skip ?? null;
    if (skip !== null) {
      Object.assign(request, {
        state: 'failed',
        why: `it is skipped here: ${skip}`,
      });
      continue;
    }
    const retryLater = version.targets.find(({ held_until }) => held_until !== null);
    const isPending = version.targets.some(({ state }) => state === 'waiting' || state === 'building');
    const failed =
      version.targets.find(({ state }) => state === 'failed') ?? (patient ? undefined : retryLater);
    if (failed && (!isPending || failed === retryLater)) {
      const why = failed.reason ?? `failed as ${failed.failure_class ?? 'other'}`;
      const log = failed.build_id === null ? '' : ` (log: ${logPath(failed.build_id, 'txt')}.gz)`;
      const retry = failed === retryLater ? '; this may pass: run it again' : '';
      Object.assign(request, { state: 'failed', why: `${why}${log}${retry}` });
      continue;
    }
    const filenames = [
      ...new Set(version.targets.flatMap(({ filename }) => (filename === null ? [] : [filename]))),
    ];
    if (isPending || filenames.length === 0) continue;
    const offered = await fetchFilenames(url, request.name);
    if (!filenames.every((name) => offered.has(name))) continue;
    Object.assign(request, { state: 'published', filenames });
  }
}

/** The filenames that the farm's own index offers. */
async function fetchFilenames(url: string, name: PackageName): Promise<ReadonlySet<string>> {
  try {
    const project = await new SimpleIndexClient(`${url}simple/`).project(name);
    return new Set(project && 'files' in project ? project.files.map(({ filename }) => filename) : []);
  } catch (error) {
    // The web server is being started again; the next look asks again.
    if (error instanceof PiwError) return new Set();
    throw error;
  }
}
