import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';
import type { IndexProject } from '../pypi/index-page.js';
import { SimpleIndexClient } from '../pypi/index-reader.js';
import { newestBuildable, groupByRelease } from '../pypi/releases.js';
import { logPath } from '../site/layout.js';
import type { PackageName } from '../wheels/names.js';
import { sameVersion } from '../wheels/versions.js';

export interface Requirement {
  readonly name: PackageName;
  readonly version: string | undefined;
}

/** A requested version and its state. */
export interface RequestedVersion {
  readonly name: PackageName;
  /** As the index spells it; as the user typed it if the index doesn't have it. */
  readonly version: string | undefined;
  /** True if the user named no version: later versions are built, too. */
  readonly follow: boolean;
  state: 'waiting' | 'published' | 'failed';
  /** The reason of the failure, for people. */
  why: string | undefined;
  /** The wheels that the farm's index lists once the version is published. */
  filenames: readonly string[];
}

/**
 * Looks up requirements in the index: the named version, or else the newest that can be built. A requirement that the
 * index doesn't have is returned as failed. Throws PIW_INDEX if the index can't be read.
 */
export async function resolveRequirements(
  index: SimpleIndexClient,
  requirements: readonly Requirement[],
): Promise<RequestedVersion[]> {
  const requestedVersions: RequestedVersion[] = [];
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
      requestedVersions.push(toRequested(`the index has no package ${name}`));
    else requestedVersions.push(chooseVersion(project, version, toRequested));
  }
  return requestedVersions;
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
      : toRequested(`the index has no sdist of ${project.name}`);
  }
  const release = available.find((candidate) => sameVersion(candidate.version, version));
  if (!release) return toRequested(`the index has no version ${version} of ${project.name}`);
  if (!release.hasSdist)
    return toRequested(`the index has no sdist of ${project.name} ${version}`, release.version);
  return toRequested(undefined, release.version);
}

/**
 * Updates the state of each version that is still waiting. It is published once the index at `url` lists its wheel for
 * every target in the database. Unless `patient`, a version with a failure that is retried later counts as failed.
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
        why: `skipped on this farm: ${skip}`,
      });
      continue;
    }
    const retryLater = version.targets.find(({ held_until }) => held_until !== null);
    const isPending = version.targets.some(({ state }) => state === 'waiting' || state === 'building');
    const failed =
      version.targets.find(({ state }) => state === 'failed') ?? (patient ? undefined : retryLater);
    if (failed && (!isPending || failed === retryLater)) {
      const why = failed.reason ?? `no known cause (${failed.failure_class ?? 'other'})`;
      const log = failed.build_id === null ? '' : `; see ${logPath(failed.build_id, 'txt')}.gz`;
      const retry = failed === retryLater ? '; this may be temporary: run the command again' : '';
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

/** Returns the filenames that the farm's own index lists; none while its web server restarts. */
async function fetchFilenames(url: string, name: PackageName): Promise<ReadonlySet<string>> {
  try {
    const project = await new SimpleIndexClient(`${url}simple/`).project(name);
    return new Set(project && 'files' in project ? project.files.map(({ filename }) => filename) : []);
  } catch (error) {
    // The web server is restarting; the next update asks again.
    if (error instanceof PiwError) return new Set();
    throw error;
  }
}
