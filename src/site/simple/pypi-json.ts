import { newestRelease, type ReleaseWithFiles } from '../../wheels/newest-release.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { escapeJson, jsonText } from '../json.js';
import type { FileTexts } from './file-texts.js';
import { parseSerial } from './serial.js';
import type { SimpleProject } from './render.js';

const JSON_HEAD = '{"last_serial":';

/** Returns the serial of a project's PyPI JSON from its first bytes; undefined for anything else. */
export const pypiSerialOf = (head: string | undefined): number | undefined => parseSerial(head, JSON_HEAD);

/**
 * Writes what PyPI's JSON API has at `/pypi/NAME/json`, from which mirrors (bandersnatch) read a project's files.
 * Fields and their types are PyPI's. Fields that the farm knows nothing about are null, as PyPI has them for a project
 * that doesn't provide them. File URLs are below `/packages/`, the only path that bandersnatch accepts; without a
 * public URL they are relative to the server's root.
 */
export function pypiJson(
  project: SimpleProject,
  files: readonly FileTexts[],
  serial: number,
  publicUrl: string | null,
  page: PageBuffer,
): void {
  const { name } = project;
  const folder = JSON.stringify(`${publicUrl ?? '/'}packages/${name}/`).slice(1, -1);
  const releases = new Map<string, FileTexts[]>();
  for (const version of project.versions) releases.set(version, []);
  for (const texts of files) {
    const release = releases.get(texts.file.version);
    if (release) release.push(texts);
    else releases.set(texts.file.version, [texts]);
  }
  const latest = newestRelease(releases);
  page.add(`${JSON_HEAD}${serial},"info":${JSON.stringify(projectInfo(project, latest, publicUrl))},"urls":`);
  addFiles(latest?.files ?? [], folder, page);
  page.add(',"releases":{');
  let comma = '';
  for (const [version, released] of releases) {
    page.add(`${comma}"${escapeJson(version)}":`);
    addFiles(released, folder, page);
    comma = ',';
  }
  page.add('},"vulnerabilities":[]}');
}

function projectInfo(
  { name, metadata = null }: SimpleProject,
  latest: ReleaseWithFiles<FileTexts> | undefined,
  publicUrl: string | null,
): unknown {
  const url = `${publicUrl ?? '/'}project/${name}/`;
  const links = metadata?.links ?? [];
  const homePage = links.find(([label]) => /^home[ -]?page$/i.test(label))?.[1] ?? null;
  const yanked = latest?.files.map((file) => file.yanked) ?? [];
  const allYanked = yanked.length > 0 && !yanked.includes(null);
  return {
    author: null,
    author_email: null,
    bugtrack_url: null,
    classifiers: [],
    description: null,
    description_content_type: null,
    docs_url: null,
    download_url: null,
    downloads: { last_day: -1, last_month: -1, last_week: -1 },
    dynamic: null,
    home_page: homePage,
    keywords: null,
    license: metadata?.license ?? null,
    license_expression: null,
    license_files: null,
    maintainer: null,
    maintainer_email: null,
    name,
    package_url: url,
    platform: null,
    project_url: url,
    project_urls: links.length === 0 ? null : Object.fromEntries(links),
    provides_extra: null,
    release_url: url,
    requires_dist: metadata === null || metadata.requires.length === 0 ? null : metadata.requires,
    requires_python: latest?.files[0]?.file.requires_python ?? null,
    summary: metadata?.summary ?? null,
    version: latest?.version ?? null,
    yanked: allYanked,
    yanked_reason: allYanked ? (yanked.find((reason) => reason !== '') ?? null) : null,
  };
}

/** Adds the files, by string concatenation as in simple.ts: the largest projects have thousands of them. */
function addFiles(files: readonly FileTexts[], folder: string, page: PageBuffer): void {
  let comma = '';
  page.add('[');
  for (const { file, json, url, uploaded, requiresPython, yanked } of files) {
    const yankedFields =
      yanked === null
        ? '"yanked":false,"yanked_reason":null}'
        : `"yanked":true,"yanked_reason":${jsonText(yanked === '' ? null : yanked)}}`;
    page.add(
      `${comma}{"comment_text":"","digests":{"sha256":"${file.sha256}"},"downloads":-1,"filename":"${json}","has_sig":false,"packagetype":"bdist_wheel","python_version":"${escapeJson(pythonTag(file.filename))}","requires_python":${requiresPython},"size":${file.filesize},"upload_time":"${uploaded.slice(0, 19)}","upload_time_iso_8601":"${uploaded}","url":"${folder}${url}",${yankedFields}`,
    );
    comma = ',';
  }
  page.add(']');
}

/** Returns the Python tag of a wheel's filename: the third part from the end. */
function pythonTag(filename: string): string {
  const end = filename.lastIndexOf('-', filename.lastIndexOf('-') - 1);
  return end < 0 ? '' : filename.slice(filename.lastIndexOf('-', end - 1) + 1, end);
}
