import type { World, WorldFile, WorldProject, WorldRelease } from './world.js';
import { escapeXml } from './xmlrpc.js';

/** The files of a project that its page shows, each with its release. */
type ShownFiles = readonly { readonly file: WorldFile; readonly release: WorldRelease }[];

export const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
export const HTML_TYPE = 'application/vnd.pypi.simple.v1+html';
const API_VERSION = '1.4';

/** The data of a page in JSON. */
type PypiPage = Readonly<Record<string, unknown>>;

interface PypiPageOptions {
  /** Whether the pages have serials, as only PyPI's do. */
  readonly serials: boolean;
}

const isoMicroseconds = (date: Date): string => date.toISOString().replace(/\.(\d{3})Z$/, '.$1000Z');
const escapeAttribute = (text: string): string => escapeXml(text).replaceAll('"', '&#34;');

/** Returns the reason of a yank; like PyPI, null for an empty reason too. */
const yankReason = ({ yanked }: WorldRelease): string | null => (yanked === '' ? null : yanked);

/** Returns the releases that are offered: none of a quarantined project, and no quarantined ones. */
const offeredReleases = (project: WorldProject): readonly WorldRelease[] =>
  project.status === 'quarantined'
    ? []
    : [...project.releases.values()].filter(({ quarantined }) => !quarantined);

const shownFiles = (project: WorldProject): ShownFiles =>
  offeredReleases(project).flatMap((release) =>
    [...release.files.values()].map((file) => ({ file, release })),
  );

/** Returns the projects that the root page lists. */
export const listedProjects = (world: World): readonly WorldProject[] =>
  [...world.projects.values()]
    .filter(({ status }) => status !== 'quarantined')
    .sort((a, b) => (a.normalised < b.normalised ? -1 : 1));

function metaOf(serial: number, { serials }: PypiPageOptions): PypiPage {
  return { 'api-version': API_VERSION, ...(serials ? { '_last-serial': serial } : {}) };
}

/** Returns the list of projects of PEP 691. */
export function rootJson(
  projects: readonly WorldProject[],
  serial: number,
  options: PypiPageOptions,
): PypiPage {
  return {
    meta: metaOf(serial, options),
    projects: projects.map((project) => ({
      name: project.name,
      ...(options.serials ? { '_last-serial': project.serial } : {}),
    })),
  };
}

/** Returns the list of projects of PEP 503. */
export function rootHtml(
  projects: readonly WorldProject[],
  serial: number,
  options: PypiPageOptions,
): string {
  const anchors = projects.map(({ name, normalised }) => `<a href="/simple/${normalised}/">${name}</a>`);
  return renderHtml('Simple index', [], anchors, serial, options);
}

/** Returns the page of a project of PEP 691. */
export function projectJson(world: World, project: WorldProject, options: PypiPageOptions): PypiPage {
  const files = shownFiles(project);
  return {
    meta: metaOf(project.serial, options),
    name: project.normalised,
    // PyPI's page omits versions without files.
    versions: [...new Set(files.map(({ release }) => release.version))],
    'alternate-locations': [],
    'project-status': { status: project.status },
    files: files.map(({ file, release }) => ({
      filename: file.filename,
      url: file.url,
      hashes: { sha256: file.sha256 },
      'requires-python': release.requiresPython,
      size: file.size,
      'upload-time': isoMicroseconds(world.uploadTime(file)),
      // A yank without a reason is `true`.
      yanked: release.yanked === null ? false : release.yanked || true,
      'core-metadata': false,
      provenance: null,
    })),
  };
}

/** Returns the page of a project of PEP 503. */
export function projectHtml(project: WorldProject, options: PypiPageOptions): string {
  const anchors = shownFiles(project).map(({ file, release }) => {
    const { requiresPython, yanked } = release;
    const python =
      requiresPython === null ? '' : ` data-requires-python="${escapeAttribute(requiresPython)}"`;
    const yank = yanked === null ? '' : ` data-yanked="${escapeAttribute(yanked)}"`;
    return `<a href="${file.url}#sha256=${file.sha256}"${python}${yank}>${file.filename}</a>`;
  });
  const metaTags = [`<meta name="pypi:project-status" content="${project.status}">`];
  return renderHtml(`Links for ${project.normalised}`, metaTags, anchors, project.serial, options);
}

function renderHtml(
  title: string,
  metaTags: readonly string[],
  anchors: readonly string[],
  serial: number,
  { serials }: PypiPageOptions,
): string {
  const head = [
    `<meta name="pypi:repository-version" content="${API_VERSION}">`,
    ...metaTags,
    `<title>${title}</title>`,
  ];
  return (
    `<!DOCTYPE html>\n<html>\n<head>\n${head.join('\n')}\n</head>\n<body>\n` +
    `${anchors.map((anchor) => `${anchor}<br />\n`).join('')}</body>\n</html>\n` +
    (serials ? `<!--SERIAL ${serial}-->` : '')
  );
}

/**
 * Returns a project's page in PyPI's JSON API; undefined if PyPI has none, which is the case for a quarantined
 * project and for one without a release. The newest release is the last one added that is not yanked.
 */
export function legacyJson(world: World, project: WorldProject): PypiPage | undefined {
  const releases = offeredReleases(project);
  const newest = releases.findLast(({ yanked }) => yanked === null) ?? releases.at(-1);
  if (!newest) return undefined;
  const filesByVersion = new Map(releases.map((release) => [release.version, legacyFiles(world, release)]));
  return {
    info: {
      name: project.name,
      version: newest.version,
      summary: `What ${project.name} is for`,
      requires_python: newest.requiresPython,
      yanked: newest.yanked !== null,
      yanked_reason: yankReason(newest),
      description: '',
      license: null,
      classifiers: [],
      requires_dist: null,
      project_urls: null,
    },
    last_serial: project.serial,
    releases: Object.fromEntries(filesByVersion),
    urls: filesByVersion.get(newest.version) ?? [],
    vulnerabilities: [],
  };
}

function legacyFiles(world: World, release: WorldRelease): PypiPage[] {
  return [...release.files.values()].map((file) => ({
    filename: file.filename,
    packagetype: file.kind === 'sdist' ? 'sdist' : 'bdist_wheel',
    python_version: file.pyver,
    url: file.url,
    digests: { sha256: file.sha256 },
    size: file.size,
    requires_python: release.requiresPython,
    upload_time: world.uploadTime(file).toISOString().slice(0, 19),
    upload_time_iso_8601: isoMicroseconds(world.uploadTime(file)),
    yanked: release.yanked !== null,
    yanked_reason: yankReason(release),
    comment_text: '',
    has_sig: false,
    downloads: -1,
  }));
}
