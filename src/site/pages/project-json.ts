import type { Provenance } from '../../model/fields.js';
import type { Project, ProjectFile, ProjectVersion, VersionOnTarget } from '../../model/project.js';
import { isPrerelease } from '../../wheels/versions.js';
import { failureSentence } from './failures.js';
import { formatDay, formatTimeOfDay } from './html.js';
import { escapeJson, isPlainFilename, jsonText, requiresPythonJson, urlSegment } from '../json.js';
import { isSameList, rememberLast } from '../remember-last.js';
import { logPath } from '../layout.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { hasSameTools, isImported, isSameSource, type OfferedFiles } from './project-files.js';
import { newestMetadata, type NewestMetadata } from './project-metadata.js';
import { parseSerial } from '../simple/serial.js';

const JSON_HEAD = '{"_last-serial":';

/** Returns the serial of a project's JSON from its first bytes; undefined for anything else. */
export const projectSerialOf = (head: string | undefined): number | undefined => parseSerial(head, JSON_HEAD);

/** Returns how a project's JSON begins under this serial. The rest does not depend on the serial. */
export const projectJsonHead = (serial: number): string => `${JSON_HEAD}${serial}`;

/**
 * Adds the content of a project's page as JSON, for programs, as served at `/project/NAME/json/`. The FAQ (faq.ts)
 * documents its keys, and they are stable: keys may be added, but none is removed or changes its meaning. Times are ISO
 * 8601 in UTC, sizes are in bytes. It begins with the serial under which it was written, so the first few bytes of two
 * states tell which is older. It is built by string concatenation, for speed: the largest projects have thousands of
 * files.
 */
export function projectJson(
  project: Project,
  offered: OfferedFiles,
  serial: number,
  publicUrl: string | null,
  page: PageBuffer,
): void {
  const base = jsonText(publicUrl ?? '../../../').slice(0, -1);
  const folder = `${base}simple/${project.package}/`;
  const metadata = newestMetadata(project, offered);
  page.add(
    `${projectJsonHead(serial)},"package":"${escapeJson(project.package)}","description":${jsonText(project.description)},"metadata":${metadataJson(metadata)},"status":"${project.status}","skipped":${jsonText(project.skip)},"downloads":{"all":${project.downloads},"last_30_days":${project.downloads_last_month}},"simple":${folder}","versions":[`,
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
    const { abi, platform, state, build_id, filename } = target;
    targets += `${targets === '' ? '' : ','}{"abi":"${escapeJson(abi)}","platform":"${escapeJson(platform)}","state":"${state}",${outcomeJson(target)},"log":${logUrl(build_id, base)},"filename":${jsonText(filename)}}`;
  }
  return `{"version":"${escapeJson(version.version)}","released":${jsonTime(version.released)},"prerelease":${String(isPrereleaseVersion(version.version))},"yanked":${yankedJson(version.yanked)},"skipped":${jsonText(version.skip)},"has_source":${String(version.has_sdist)},"requires_python":${jsonText(version.requires_python)},"targets":[${targets}],"files":[`;
}

/** Returns the keys that say how the newest build ended. Most builds leave nothing to say. */
function outcomeJson({ failure_class, reason, remark, held_until }: VersionOnTarget): string {
  if (failure_class === null && remark === null && held_until === null)
    return '"failure":null,"remark":null,"retried_after":null';
  const failure =
    failure_class === null
      ? 'null'
      : `{"class":${jsonText(failure_class)},"why":${jsonText(failureSentence(failure_class))},"reason":${jsonText(reason)}}`;
  return `"failure":${failure},"remark":${jsonText(remark)},"retried_after":${jsonTime(held_until)}`;
}

/** Returns the keys that say where a wheel comes from: its build, and the source and the tools of that build. */
function originJson(file: ProjectFile, base: string): string {
  const { build_id, built, duration_s, slave, remark, provenance } = file;
  const imported = isImported(file);
  const build =
    build_id === null || imported
      ? 'null'
      : `{"ended":${jsonTime(built)},"seconds":${duration_s ?? 0},"slave":${jsonText(slave)},"log":${logUrl(build_id, base)}}`;
  return `"remark":${jsonText(remark)},"imported":${String(imported)},"build":${build},"provenance":${provenanceJson(provenance)}`;
}

function provenanceJson(provenance: ProjectFile['provenance']): string {
  if (provenance === null) return 'null';
  const { sdist, python, pip, requirements, source_date_epoch } = provenance;
  return `{"source":${sourceJson(sdist)},"python":"${escapeJson(python)}","pip":"${escapeJson(pip)}","build_requirements":${toolsJson(requirements)},"source_date_epoch":${String(source_date_epoch)}}`;
}

const sourceJson = rememberLast(
  (sdist: Provenance['sdist']) =>
    sdist === null ? 'null' : `{"filename":"${escapeJson(sdist[0])}","sha256":"${sdist[1]}"}`,
  isSameSource,
);
const toolsJson = rememberLast(
  (requirements: Provenance['requirements']) =>
    JSON.stringify(requirements.map(([name, version]) => ({ name, version }))),
  hasSameTools,
);
const needsJson = rememberLast(
  (dependencies: ProjectFile['dependencies']) =>
    `{"apt":${jsonList(dependencies['apt'])},"other":${jsonList(dependencies[''])}}`,
  (a, b) => isSameList(a['apt'] ?? [], b['apt'] ?? []) && isSameList(a[''] ?? [], b[''] ?? []),
);

function fileJson(file: ProjectFile, folder: string, base: string): string {
  const { filename } = file;
  const isPlain = isPlainFilename(filename);
  let serves = '';
  for (const [abi, platform] of file.serves)
    serves += `${serves === '' ? '' : ','}{"abi":"${escapeJson(abi)}","platform":"${escapeJson(platform)}"}`;
  return `{"filename":"${isPlain ? filename : escapeJson(filename)}","url":${folder}${isPlain ? filename : urlSegment(filename)}","size":${file.filesize},"sha256":"${file.sha256}","uploaded":${jsonTime(file.uploaded)},"requires_python":${requiresPythonJson(file.requires_python)},"yanked":${yankedJson(file.yanked)},"serves":[${serves}],"needs":${needsJson(file.dependencies)},"downloads":${file.downloads},${originJson(file, base)}}`;
}

const jsonList = (values: readonly string[] = []): string =>
  values.length === 0 ? '[]' : `[${values.map(jsonText).join(',')}]`;
/** Returns what the simple index has for `yanked`: false, true, or the reason. */
const yankedJson = (reason: string | null): string =>
  reason === null ? 'false' : reason === '' ? 'true' : jsonText(reason);
const logUrl = (build: number | null, base: string): string =>
  build === null ? 'null' : `${base}${logPath(build, 'txt')}"`;
/** Returns true for a pre-release. Only versions with a letter can be one, so others are not parsed. */
const isPrereleaseVersion = (version: string): boolean => /[a-z]/i.test(version) && isPrerelease(version);

/** Formats a time like toISOString(), but only to the second. */
const jsonTime = (ms: number | null): string =>
  ms === null ? 'null' : `"${formatDay(ms)}T${formatTimeOfDay(ms)}Z"`;
