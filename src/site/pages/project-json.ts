import { DAY_MS } from '../../units.js';
import type { Project, ProjectFile, ProjectVersion } from '../../model/project.js';
import { isPrerelease } from '../../wheels/versions.js';
import { failureSentence } from './failures.js';
import { formatDay } from './html.js';
import { logPath } from '../layout.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { filesByVersion, isImported, type OfferedFiles } from './project-files.js';
import { newestMetadata, type NewestMetadata } from './project-metadata.js';
import { parseSerial } from '../simple/serial.js';

const JSON_HEAD = '{"_last-serial":';

/** Returns the serial of a project's JSON from its first bytes; undefined for anything else. */
export const projectSerialOf = (head: string | undefined): number | undefined => parseSerial(head, JSON_HEAD);

/** Returns how a project's JSON begins under this serial. The rest does not depend on the serial. */
export const projectJsonHead = (serial: number): string => `${JSON_HEAD}${String(serial)}`;

/**
 * Adds the content of a project's page as JSON, for programs, as served at `/project/NAME/json/`. The FAQ (faq.ts)
 * documents its keys, and they are stable: keys may be added, but none is removed or changes its meaning. Times are ISO
 * 8601 in UTC, sizes are in bytes. It begins with the serial under which it was written, so the first few bytes of two
 * states tell which is older. It is built by string concatenation, for speed: the largest projects have thousands of
 * files.
 */
export function projectJson(
  project: Project,
  serial: number,
  publicUrl: string | null,
  page: PageBuffer,
): void {
  const base = jsonText(publicUrl ?? '../../../').slice(0, -1);
  const folder = `${base}simple/${project.package}/`;
  const offered: OfferedFiles = project.status === 'quarantined' ? new Map() : filesByVersion(project.files);
  const metadata = newestMetadata(project, offered);
  page.add(
    `${projectJsonHead(serial)},"package":${jsonText(project.package)},"description":${jsonText(project.description)},"metadata":${metadataJson(metadata)},"status":"${project.status}","skipped":${jsonText(project.skip)},"downloads":{"all":${String(project.downloads)},"last_30_days":${String(project.downloads_last_month)}},"simple":${folder}","versions":[`,
  );
  let comma = '';
  for (const version of project.versions) {
    page.add(`${comma}${versionJson(version, base)}`);
    comma = '';
    for (const file of offered.get(version.version) ?? []) {
      page.add(`${comma}${fileJson(file, folder, base)}`);
      comma = ',\n';
    }
    page.add(']}');
    comma = ',\n';
  }
  page.add(']}\n');
}

const metadataJson = (metadata: NewestMetadata | undefined): string =>
  metadata === undefined
    ? 'null'
    : JSON.stringify({
        version: metadata.version,
        summary: metadata.summary,
        license: metadata.license,
        links: metadata.links.map(([label, url]) => ({ label, url })),
        requires_dist: metadata.requires,
      });

/**
 * Returns a version's JSON up to the opening bracket of its files. `base` is the site's URL as a JSON string, without
 * the closing quote.
 */
function versionJson(version: ProjectVersion, base: string): string {
  let targets = '';
  for (const target of version.targets) {
    const { abi, platform, state, build_id, failure_class, reason, remark, held_until, filename } = target;
    const failure =
      failure_class === null
        ? 'null'
        : `{"class":${jsonText(failure_class)},"why":${jsonText(failureSentence(failure_class))},"reason":${jsonText(reason)}}`;
    targets += `${targets === '' ? '' : ','}{"abi":${jsonText(abi)},"platform":${jsonText(platform)},"state":"${state}","failure":${failure},"remark":${jsonText(remark)},"retried_after":${jsonTime(held_until)},"log":${logUrl(build_id, base)},"filename":${jsonText(filename)}}`;
  }
  return `{"version":${jsonText(version.version)},"released":${jsonTime(version.released)},"prerelease":${String(isPrereleaseVersion(version.version))},"yanked":${yankedJson(version.yanked)},"skipped":${jsonText(version.skip)},"has_source":${String(version.has_sdist)},"requires_python":${jsonText(version.requires_python)},"targets":[${targets}],"files":[`;
}

/** Returns the keys that say where a wheel comes from: its build, and the source and the tools of that build. */
function originJson(file: ProjectFile, base: string): string {
  const { build_id, built, duration_s, slave, remark, provenance } = file;
  const imported = isImported(file);
  const build =
    build_id === null || imported
      ? 'null'
      : `{"ended":${jsonTime(built)},"seconds":${String(duration_s ?? 0)},"slave":${jsonText(slave)},"log":${logUrl(build_id, base)}}`;
  return `"remark":${jsonText(remark)},"imported":${String(imported)},"build":${build},"provenance":${provenanceJson(provenance)}`;
}

function provenanceJson(provenance: ProjectFile['provenance']): string {
  if (provenance === null) return 'null';
  const { sdist, python, pip, requirements, source_date_epoch } = provenance;
  const source = sdist === null ? 'null' : `{"filename":${jsonText(sdist[0])},"sha256":"${sdist[1]}"}`;
  const tools = requirements.map(
    ([name, version]) => `{"name":${jsonText(name)},"version":${jsonText(version)}}`,
  );
  return `{"source":${source},"python":${jsonText(python)},"pip":${jsonText(pip)},"build_requirements":[${tools.join(',')}],"source_date_epoch":${String(source_date_epoch)}}`;
}

function fileJson(file: ProjectFile, folder: string, base: string): string {
  const { filename, dependencies } = file;
  let serves = '';
  for (const [abi, platform] of file.serves)
    serves += `${serves === '' ? '' : ','}{"abi":${jsonText(abi)},"platform":${jsonText(platform)}}`;
  const url = `${folder}${URL_SAFE.test(filename) ? filename : encodeURIComponent(filename)}"`;
  return `{"filename":${jsonText(filename)},"url":${url},"size":${String(file.filesize)},"sha256":"${file.sha256}","uploaded":${jsonTime(file.uploaded)},"requires_python":${jsonText(file.requires_python)},"yanked":${yankedJson(file.yanked)},"serves":[${serves}],"needs":{"apt":${jsonList(dependencies['apt'])},"other":${jsonList(dependencies[''])}},"downloads":${String(file.downloads)},${originJson(file, base)}}`;
}

/** Characters that JSON may have to escape. Most texts have none. */
const NEEDS_ESCAPE = /[^ !#-[\]-~]/;
/** Text that needs no encoding in a URL. */
const URL_SAFE = /^[\w.-]*$/;

const jsonText = (value: string | null): string =>
  value === null ? 'null' : NEEDS_ESCAPE.test(value) ? JSON.stringify(value) : `"${value}"`;
const jsonList = (values: readonly string[] = []): string =>
  values.length === 0 ? '[]' : `[${values.map(jsonText).join(',')}]`;
/** Returns what the simple index has for `yanked`: false, true, or the reason. */
const yankedJson = (reason: string | null): string =>
  reason === null ? 'false' : reason === '' ? 'true' : jsonText(reason);
const logUrl = (build: number | null, base: string): string =>
  build === null ? 'null' : `${base}${logPath(build, 'txt')}"`;
/** Returns true for a pre-release. Only versions with a letter can be one, so others are not parsed. */
const isPrereleaseVersion = (version: string): boolean => /[a-z]/i.test(version) && isPrerelease(version);

const TWO_DIGITS = Array.from({ length: 60 }, (_, n) => String(n).padStart(2, '0'));

/** Formats a time like toISOString(), but only to the second, and five times as fast. */
function jsonTime(ms: number | null): string {
  if (ms === null) return 'null';
  const second = Math.floor((ms % DAY_MS) / 1000);
  return `"${formatDay(ms)}T${TWO_DIGITS[Math.floor(second / 3600)] ?? ''}:${TWO_DIGITS[Math.floor(second / 60) % 60] ?? ''}:${TWO_DIGITS[second % 60] ?? ''}Z"`;
}
