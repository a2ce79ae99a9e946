import type { Provenance } from '../../model/fields.js';
import type { Project, ProjectFile } from '../../model/project.js';
import { reasonSentence } from './failures.js';
import { formatBytes, formatDay, formatDuration, formatTimeOfDay, escape } from './html.js';
import { isPlainFilename, urlSegment } from '../json.js';
import { logPath } from '../layout.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { isSameList, rememberLast } from '../remember-last.js';
import { formatQuantity } from '../../units.js';

/** The relative path from a project's page to the top of the site. */
export const PROJECT_ROOT = '../../';
/** The number of newest versions that are shown; older ones are collapsed. */
export const VISIBLE_VERSIONS = 25;

/** The files that a project offers, by version. */
export type OfferedFiles = ReadonlyMap<string, readonly ProjectFile[]>;

/** Returns true for a wheel that an administrator imported: no slave of this farm built it. */
export const isImported = ({ build_id, slave }: Pick<ProjectFile, 'build_id' | 'slave'>): boolean =>
  build_id !== null && slave === null;

/** Returns true if two files were built from the same source. */
export const isSameSource = (a: Provenance['sdist'], b: Provenance['sdist']): boolean =>
  a === b || (a !== null && b !== null && isSameList(a, b));
/** Returns true if two files were built with the same tools. */
export const hasSameTools = (a: Provenance['requirements'], b: Provenance['requirements']): boolean =>
  isSameList(a, b, isSameList);

/** Returns the files that a project offers: none while it is quarantined. */
export function offeredFiles({ status, files }: Project): OfferedFiles {
  const groups = new Map<string, ProjectFile[]>();
  for (const file of status === 'quarantined' ? [] : files) {
    const group = groups.get(file.version);
    if (group) group.push(file);
    else groups.set(file.version, [file]);
  }
  return groups;
}

/** Returns the total size of files, bytes. */
export function totalSize(files: readonly ProjectFile[]): number {
  let size = 0;
  for (const file of files) size += file.filesize;
  return size;
}

/** Adds the files of each version; only those of the newest are expanded. */
export function addFiles(project: Project, offered: OfferedFiles, page: PageBuffer): void {
  const folder = `${PROJECT_ROOT}simple/${project.package}/`;
  const versions = project.versions.filter(({ version }) => offered.has(version));
  for (const [n, { version }] of versions.entries()) {
    if (n === VISIBLE_VERSIONS)
      page.add(
        `<details class="older"><summary>Files of ${formatQuantity(versions.length - VISIBLE_VERSIONS, 'older version')}</summary>`,
      );
    addVersionFiles(version, offered.get(version) ?? [], folder, n === 0, page);
  }
  if (versions.length > VISIBLE_VERSIONS) page.add('</details>');
}

function addVersionFiles(
  version: string,
  files: readonly ProjectFile[],
  folder: string,
  open: boolean,
  page: PageBuffer,
): void {
  page.add(
    `<details class="files"${open ? ' open' : ''}><summary>${escape(version)} <span>${formatQuantity(files.length, 'wheel')}, ${formatBytes(totalSize(files))}</span></summary><ul>\n`,
  );
  for (const file of files) page.add(fileRow(file, folder));
  page.add('</ul></details>\n');
}

function fileRow(file: ProjectFile, folder: string): string {
  const { filename, yanked, remark } = file;
  const isPlain = isPlainFilename(filename);
  const name = isPlain ? filename : escape(filename);
  const url = isPlain ? filename : escape(urlSegment(filename));
  const badges =
    (yanked === null ? '' : ' <b class="badge failed">yanked</b>') +
    (remark === null ? '' : ' <b class="badge building">remark</b>');
  const remarkHtml = remark === null ? '' : `<p class="remark">${escape(reasonSentence(remark))}</p>`;
  return `<li><div class="file"><a href="${folder}${url}">${name}</a>${badges}</div>${remarkHtml}<div class="soft">${formatBytes(file.filesize)} · ${formatDay(file.uploaded)} · ${requiredPython(file.requires_python)} · ${formatQuantity(file.downloads, 'download')}${requiredPackages(file.dependencies['apt'] ?? [])}</div><code class="hash">sha256:${file.sha256}</code>${origin(file, name)}</li>\n`;
}

const requiredPython = rememberLast((python: string | null) =>
  python === null || python === '' ? 'any Python' : `Python ${escape(python)}`,
);
const requiredPackages = rememberLast(
  (apt: readonly string[]) => (apt.length === 0 ? '' : ` · requires ${escape(apt.join(' '))}`),
  isSameList,
);

/** Returns when, where and for how long a wheel was built, and, collapsed, from what and with what. */
function origin(file: ProjectFile, name: string): string {
  const { build_id, built, provenance } = file;
  if (build_id === null || built === null) return '';
  const log = ` <a href="${PROJECT_ROOT}${logPath(build_id)}">Log<span class="unseen"> of ${name}</span></a>`;
  const imported = isImported(file);
  const summary = imported
    ? `Imported on ${formatDay(built)}`
    : `Built on ${formatDay(built)} by ${escape(file.slave ?? '')} in ${formatDuration(file.duration_s ?? 0)}`;
  if (provenance === null) return `<div class="soft">${summary}.${imported ? '' : log}</div>`;
  const { sdist, python, pip, requirements, source_date_epoch: epoch } = provenance;
  return `<details class="origin"><summary>${summary}</summary><dl>${sourceOf(sdist)}<dt>Python</dt><dd>${escape(python)}</dd><dt>pip</dt><dd>${escape(pip)}</dd><dt>built with</dt><dd>${toolsOf(requirements)}</dd>${timestampsOf(epoch)}</dl><p>${log}</p></details>`;
}

const sourceOf = rememberLast(
  (sdist: Provenance['sdist']) =>
    sdist === null
      ? ''
      : `<dt>source</dt><dd>${escape(sdist[0])}<code class="hash">sha256:${sdist[1]}</code></dd>`,
  isSameSource,
);
const toolsOf = rememberLast(
  (requirements: Provenance['requirements']) =>
    requirements.length === 0
      ? 'no other packages'
      : escape(requirements.map(([tool, version]) => `${tool} ${version}`).join(', ')),
  hasSameTools,
);
const timestampsOf = rememberLast((epoch: number | null) =>
  epoch === null ? '' : `<dt>timestamps</dt><dd>${formatTime(epoch)} (SOURCE_DATE_EPOCH)</dd>`,
);

const formatTime = (seconds: number): string =>
  // From the year 10000 on, a date would have another form.
  seconds >= 253_402_300_800
    ? String(seconds)
    : `${formatDay(seconds * 1000)} ${formatTimeOfDay(seconds * 1000)} UTC`;
