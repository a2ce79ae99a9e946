import type { Project, ProjectFile } from '../../model/project.js';
import { reasonSentence } from './failures.js';
import { formatBytes, formatQuantity, formatDay, formatDuration, formatTimeOfDay, escape } from './html.js';
import { urlSegment } from '../json.js';
import { logPath } from '../layout.js';
import type { PageBuffer } from '../../files/page-buffer.js';

/** The relative path from a project's page to the top of the site. */
export const PROJECT_ROOT = '../../';
/** The number of newest versions that are shown; older ones are collapsed. */
export const VISIBLE_VERSIONS = 25;

/** The files that a project offers, by version. */
export type OfferedFiles = ReadonlyMap<string, readonly ProjectFile[]>;

/** Returns true for a wheel that an administrator imported: no slave of this farm built it. */
export const isImported = ({ build_id, slave }: Pick<ProjectFile, 'build_id' | 'slave'>): boolean =>
  build_id !== null && slave === null;

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
  let size = 0;
  for (const file of files) size += file.filesize;
  page.add(
    `<details class="files"${open ? ' open' : ''}><summary>${escape(version)} <span>${formatQuantity(files.length, 'wheel')}, ${formatBytes(size)}</span></summary><ul>\n`,
  );
  for (const file of files) page.add(fileRow(file, folder));
  page.add('</ul></details>\n');
}

function fileRow(file: ProjectFile, folder: string): string {
  const { filename, requires_python: python, yanked, remark } = file;
  const name = escape(filename);
  const apt = file.dependencies['apt'] ?? [];
  const badges = `${yanked === null ? '' : ' <b class="badge failed">yanked</b>'}${remark === null ? '' : ' <b class="badge building">remark</b>'}`;
  const remarkHtml = remark === null ? '' : `<p class="remark">${escape(reasonSentence(remark))}</p>`;
  const pythonText = python === null || python === '' ? 'any Python' : `Python ${escape(python)}`;
  const required = apt.length === 0 ? '' : ` · requires ${escape(apt.join(' '))}`;
  return `<li><div class="file"><a href="${folder}${escape(urlSegment(filename))}">${name}</a>${badges}</div>${remarkHtml}<div class="soft">${formatBytes(file.filesize)} · ${formatDay(file.uploaded)} · ${pythonText} · ${formatQuantity(file.downloads, 'download')}${required}</div><code class="hash">sha256:${file.sha256}</code>${origin(file, name)}</li>\n`;
}

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
  const source =
    sdist === null
      ? ''
      : `<dt>source</dt><dd>${escape(sdist[0])}<code class="hash">sha256:${sdist[1]}</code></dd>`;
  let tools = '';
  for (const [tool, version] of requirements) tools += `${tools === '' ? '' : ', '}${tool} ${version}`;
  const timestamps =
    epoch === null ? '' : `<dt>timestamps</dt><dd>${formatTime(epoch)} (SOURCE_DATE_EPOCH)</dd>`;
  return `<details class="origin"><summary>${summary}</summary><dl>${source}<dt>Python</dt><dd>${escape(python)}</dd><dt>pip</dt><dd>${escape(pip)}</dd><dt>built with</dt><dd>${tools === '' ? 'no other packages' : escape(tools)}</dd>${timestamps}</dl><p>${log}</p></details>`;
}

const formatTime = (seconds: number): string =>
  // From the year 10000 on, a date would have another form.
  seconds >= 253_402_300_800
    ? String(seconds)
    : `${formatDay(seconds * 1000)} ${formatTimeOfDay(seconds * 1000)} UTC`;
