import type { Project, ProjectFile, ProjectVersion } from '../protocols/oracle.js';
import { isPrerelease } from '../wheels/versions.js';
import { failureSentence } from './failures.js';
import { logPath } from './layout.js';
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
export function projectJson(project: Project, serial: number, publicUrl: string | null): string {
  const base = publicUrl ?? '../../../';
  const offered = project.status === 'quarantined' ? [] : project.files;
  const files = new Map<string, string[]>();
  for (const file of offered) {
    const text = fileJson(file, `${base}simple/${project.package}/`, base);
    const known = files.get(file.version);
    if (known) known.push(text);
    else files.set(file.version, [text]);
  }
  const versions = project.versions.map((version) => versionJson(version, files.get(version.version), base));
  return `${projectBegins(serial)},"package":${text(project.package)},"description":${text(project.description)},"status":"${project.status}","skipped":${text(project.skip)},"downloads":{"all":${String(project.downloads)},"last_30_days":${String(project.downloads_last_month)}},"simple":${text(`${base}simple/${project.package}/`)},"versions":[${versions.join(',\n')}]}\n`;
}

function versionJson(its: ProjectVersion, files: readonly string[] | undefined, base: string): string {
  const targets = its.targets.map(
    ({ abi, platform, state, build_id, failure_class, held_until, filename }) => {
      const failure =
        failure_class === null
          ? 'null'
          : `{"class":${text(failure_class)},"why":${text(failureSentence(failure_class))}}`;
      return `{"abi":${text(abi)},"platform":${text(platform)},"state":"${state}","failure":${failure},"retried_after":${time(held_until)},"log":${logUrl(build_id, base)},"filename":${text(filename)}}`;
    },
  );
  return `{"version":${text(its.version)},"released":${time(its.released)},"prerelease":${String(isPre(its.version))},"yanked":${yank(its.yanked)},"skipped":${text(its.skip)},"has_source":${String(its.has_sdist)},"requires_python":${text(its.requires_python)},"targets":[${targets.join(',')}],"files":[${(files ?? []).join(',')}]}`;
}

function fileJson(file: ProjectFile, folder: string, base: string): string {
  const url = `${folder}${encodeURIComponent(file.filename)}`;
  const serves = file.serves.map(([abi, platform]) => `{"abi":${text(abi)},"platform":${text(platform)}}`);
  const { apt = [], ['']: others = [] } = file.dependencies;
  return `{"filename":${text(file.filename)},"url":${text(url)},"size":${String(file.filesize)},"sha256":"${file.sha256}","metadata_sha256":"${file.metadata_sha256}","uploaded":${time(file.uploaded)},"requires_python":${text(file.requires_python)},"yanked":${yank(file.yanked)},"serves":[${serves.join(',')}],"needs":{"apt":${list(apt)},"other":${list(others)}},"downloads":${String(file.downloads)},"log":${logUrl(file.build_id, base)}}`;
}

// Nothing that JSON would have to escape, which most text is free of.
const PLAIN = /^[ !#-[\]-~]*$/;

const text = (value: string | null): string =>
  value === null ? 'null' : PLAIN.test(value) ? `"${value}"` : JSON.stringify(value);
const list = (values: readonly string[]): string => `[${values.map(text).join(',')}]`;
/** As in the simple index: false, true, or the reason. */
const yank = (reason: string | null): string =>
  reason === null ? 'false' : reason === '' ? 'true' : text(reason);
const logUrl = (build: number | null, base: string): string =>
  build === null ? 'null' : text(`${base}${logPath(build, 'txt')}`);
const time = (ms: number | null): string => (ms === null ? 'null' : `"${new Date(ms).toISOString()}"`);
/** Only a version with a letter in it can be one. */
const isPre = (version: string): boolean => /[a-z]/i.test(version) && isPrerelease(version);
