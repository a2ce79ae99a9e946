import { PiwError } from '../errors.js';
import { fetchPage, type HttpOptions } from './http.js';
import type { IndexProject } from './index-page.js';
import type { SimpleIndexClient } from './index-reader.js';
import { STORABLE_VERSION, groupByRelease, type ProjectRelease } from './releases.js';

interface ProjectPage {
  readonly serial: number;
  readonly status: IndexProject['status'];
  readonly etag: string | null;
  readonly releases: readonly ProjectRelease[];
  /** The one-line summary. Null if it was not requested or could not be read, or if the project has none. */
  readonly description: string | null;
}

const MAX_DESCRIPTION_CHARS = 2000;

/**
 * Reads a project's page in the simple index. If `json` is set, the base URL of PyPI's JSON API, it also reads the
 * project's one-line summary, which only that API has. Returns 'same' if the page's ETag is still `etag`, and
 * 'missing' if the index doesn't have the project. Throws PIW_INDEX.
 */
export async function readProject(
  index: SimpleIndexClient,
  name: string,
  options: HttpOptions & { readonly json?: string | null; readonly etag?: string | null } = {},
): Promise<ProjectPage | 'same' | 'missing'> {
  const { json, etag, signal } = options;
  const project = await index.project(name, {
    ...(etag === null || etag === undefined ? {} : { etag }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (project === undefined) return 'missing';
  if ('notModified' in project) return 'same';
  return {
    serial: project.serial,
    status: project.status,
    etag: project.etag ?? null,
    releases: groupByRelease(project),
    description: json === null || json === undefined ? null : await readSummary(json, project.name, options),
  };
}

/** The parts used here of what PyPI's JSON API returns for a project. */
interface LegacyJson {
  readonly info?: { readonly summary?: unknown };
  readonly last_serial?: unknown;
  readonly releases?: Readonly<Record<string, unknown>> | null;
}

async function readSummary(jsonUrl: string, name: string, options: HttpOptions): Promise<string | null> {
  const text = (await fetchLegacyJson(jsonUrl, name, options))?.info?.summary;
  return typeof text === 'string' && text.trim() !== '' ? text.trim().slice(0, MAX_DESCRIPTION_CHARS) : null;
}

/** Returns all versions of a project, also those without files, which only the JSON API has; undefined on failure. */
export async function readReleaseList(
  jsonUrl: string,
  name: string,
  options: HttpOptions,
): Promise<{ readonly serial: number; readonly versions: readonly string[] } | undefined> {
  const body = await fetchLegacyJson(jsonUrl, name, options);
  if (
    !Number.isSafeInteger(body?.last_serial) ||
    typeof body?.releases !== 'object' ||
    body.releases === null
  )
    return undefined;
  const versions = Object.keys(body.releases).filter((version) => STORABLE_VERSION.test(version));
  return { serial: body.last_serial as number, versions };
}

async function fetchLegacyJson(
  jsonUrl: string,
  name: string,
  options: HttpOptions,
): Promise<LegacyJson | undefined> {
  try {
    const address = `${jsonUrl.replace(/\/$/, '')}/${name}/json`;
    const page = await fetchPage(address, { accept: 'application/json' }, options);
    if (page.status !== 200) return undefined;
    const body: unknown = JSON.parse(page.body);
    return typeof body === 'object' && body !== null ? body : undefined;
  } catch (error) {
    // Builds don't depend on this data, and it is requested again with the next fetch of the page.
    if (error instanceof PiwError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
