import type { Project, ProjectFile, ProjectVersion } from '../protocols/oracle.js';
import { isPrerelease } from '../wheels/versions.js';
import { failureSentence } from './failures.js';
import { day } from './html.js';
import { logPath } from './layout.js';
import type { PageBuffer } from './page-buffer.js';
import { byVersion, isImported, type Offered } from './project-files.js';
import { newestMetadata, type NewestMetadata } from './project-metadata.js';
import { serialIn } from './serial.js';

const BEGINS = '{"_last-serial":';

/** The serial of a project's JSON, from its first bytes. */
export const projectSerialOf = (head: string | undefined): number | undefined => serialIn(head, BEGINS);

/** How it begins under this serial; what follows is the same whatever the serial is. */
export const projectBegins = (serial: number): string => `${BEGINS}${String(serial)}`;

/**
 * What a project's page shows, for programs, at `/project/NAME/json/`. Its shape is documented on the page of
 * questions (faq.ts) and doesn't change: keys may be added, none goes or gets another meaning. Times are ISO 8601 in
 * UTC, sizes bytes. It begins with the serial under which it was written, so that of two states the first few bytes
 * tell which is the older. Put together by hand, for speed: the largest projects have thousands of files.
 */
export function projectJson(
  project: Project,
  serial: number,
  publicUrl: string | null,
  page: PageBuffer,
): void {
  const base = text(publicUrl ?? '../../../').slice(0, -1);
  const folder = `${base}simple/${project.package}/`;
  const offered: Offered = project.status === 'quarantined' ? new Map() : byVersion(project.files);
  const metadata = newestMetadata(project, offered);
  page.add(
    `${projectBegins(serial)},"package":${text(project.package)},"description":${text(project.description)},"metadata":${metadataJson(metadata)},"status":"${project.status}","skipped":${text(project.skip)},"downloads":{"all":${String(project.downloads)},"last_30_days":${String(project.downloads_last_month)}},"simple":${folder}","versions":[`,
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

/** All of it but its files. `base` is JSON's text of the site's address, without the quote at its end. */
function versionJson(its: ProjectVersion, base: string): string {
  let targets = '';
  for (const target of its.targets) {
    const { abi, platform, state, build_id, failure_class, reason, remark, held_until, filename } = target;
    const failure =
      failure_class === null
        ? 'null'
        : `{"class":${text(failure_class)},"why":${text(failureSentence(failure_class))},"reason":${text(reason)}}`;
    targets += `${targets === '' ? '' : ','}{"abi":${text(abi)},"platform":${text(platform)},"state":"${state}","failure":${failure},"remark":${text(remark)},"retried_after":${time(held_until)},"log":${logUrl(build_id, base)},"filename":${text(filename)}}`;
  }
  return `{"version":${text(its.version)},"released":${time(its.released)},"prerelease":${String(isPre(its.version))},"yanked":${yank(its.yanked)},"skipped":${text(its.skip)},"has_source":${String(its.has_sdist)},"requires_python":${text(its.requires_python)},"targets":[${targets}],"files":[`;
}

/** Where a wheel comes from: the build that made it, and the source and the tools of that build. */
function originJson(file: ProjectFile, base: string): string {
  const { build_id, built, duration_s, slave, remark, provenance } = file;
  const imported = isImported(file);
  const build =
    build_id === null || imported
      ? 'null'
      : `{"ended":${time(built)},"seconds":${String(duration_s ?? 0)},"slave":${text(slave)},"log":${logUrl(build_id, base)}}`;
  return `"remark":${text(remark)},"imported":${String(imported)},"build":${build},"provenance":${provenanceJson(provenance)}`;
}

function provenanceJson(provenance: ProjectFile['provenance']): string {
  if (provenance === null) return 'null';
  const { sdist, python, pip, requirements, source_date_epoch } = provenance;
  const source = sdist === null ? 'null' : `{"filename":${text(sdist[0])},"sha256":"${sdist[1]}"}`;
  const tools = requirements.map(([name, version]) => `{"name":${text(name)},"version":${text(version)}}`);
  return `{"source":${source},"python":${text(python)},"pip":${text(pip)},"build_requirements":[${tools.join(',')}],"source_date_epoch":${String(source_date_epoch)}}`;
}

function fileJson(file: ProjectFile, folder: string, base: string): string {
  const { filename, dependencies } = file;
  let serves = '';
  for (const [abi, platform] of file.serves)
    serves += `${serves === '' ? '' : ','}{"abi":${text(abi)},"platform":${text(platform)}}`;
  const url = `${folder}${PATH.test(filename) ? filename : encodeURIComponent(filename)}"`;
  return `{"filename":${text(filename)},"url":${url},"size":${String(file.filesize)},"sha256":"${file.sha256}","uploaded":${time(file.uploaded)},"requires_python":${text(file.requires_python)},"yanked":${yank(file.yanked)},"serves":[${serves}],"needs":{"apt":${list(dependencies['apt'])},"other":${list(dependencies[''])}},"downloads":${String(file.downloads)},${originJson(file, base)}}`;
}

/** What JSON would have to escape, which most text is free of. */
const SPECIAL = /[^ !#-[\]-~]/;
/** What an address takes as it stands. */
const PATH = /^[\w.-]*$/;

const text = (value: string | null): string =>
  value === null ? 'null' : SPECIAL.test(value) ? JSON.stringify(value) : `"${value}"`;
const list = (values: readonly string[] = []): string =>
  values.length === 0 ? '[]' : `[${values.map(text).join(',')}]`;
/** As in the simple index: false, true, or the reason. */
const yank = (reason: string | null): string =>
  reason === null ? 'false' : reason === '' ? 'true' : text(reason);
const logUrl = (build: number | null, base: string): string =>
  build === null ? 'null' : `${base}${logPath(build, 'txt')}"`;
/** Only a version with a letter in it can be one. */
const isPre = (version: string): boolean => /[a-z]/i.test(version) && isPrerelease(version);

const TWO = Array.from({ length: 60 }, (_, n) => String(n).padStart(2, '0'));
const DAY_MS = 86_400_000;

/** As `Date.toISOString`, to the second, at a fifth of its cost. */
function time(ms: number | null): string {
  if (ms === null) return 'null';
  const second = Math.floor((ms % DAY_MS) / 1000);
  return `"${day(ms)}T${TWO[Math.floor(second / 3600)] ?? ''}:${TWO[Math.floor(second / 60) % 60] ?? ''}:${TWO[second % 60] ?? ''}Z"`;
}
