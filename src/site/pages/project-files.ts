import type { Project, ProjectFile } from '../../model/project.js';
import { reasonSentence } from './failures.js';
import { formatBytes, formatQuantity, formatDay, formatDuration, escape, pathSegment } from './html.js';
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

export function filesByVersion(files: readonly ProjectFile[]): OfferedFiles {
  const groups = new Map<string, ProjectFile[]>();
  for (const file of files) {
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
  const { filename, requires_python, yanked, remark, dependencies } = file;
  const apt = dependencies['apt'] ?? [];
  const facts = [
    formatBytes(file.filesize),
    formatDay(file.uploaded),
    requires_python === null || requires_python === '' ? 'any Python' : `Python ${escape(requires_python)}`,
    formatQuantity(file.downloads, 'download'),
  ];
  if (apt.length > 0) facts.push(`requires ${escape(apt.join(' '))}`);
  const badges = `${yanked === null ? '' : ' <b class="badge failed">yanked</b>'}${remark === null ? '' : ' <b class="badge building">remark</b>'}`;
  const remarkHtml = remark === null ? '' : `<p class="remark">${escape(reasonSentence(remark))}</p>`;
  return `<li><div class="file"><a href="${folder}${pathSegment(filename)}">${escape(filename)}</a>${badges}</div>${remarkHtml}<div class="soft">${facts.join(' · ')}</div><code class="hash">sha256:${file.sha256}</code>${origin(file)}</li>\n`;
}

/** Returns when, where and for how long a wheel was built, and, collapsed, from what and with what. */
function origin(file: ProjectFile): string {
  const { build_id, built, duration_s, slave, provenance } = file;
  if (build_id === null || built === null) return '';
  const log = ` <a href="${PROJECT_ROOT}${logPath(build_id)}">Log<span class="unseen"> of ${escape(file.filename)}</span></a>`;
  const summary = isImported(file)
    ? `Imported on ${formatDay(built)}`
    : `Built on ${formatDay(built)} by ${escape(slave ?? '')} in ${formatDuration(duration_s ?? 0)}`;
  if (provenance === null) return `<div class="soft">${summary}.${isImported(file) ? '' : log}</div>`;
  const { sdist, python, pip, requirements, source_date_epoch } = provenance;
  const rows: string[] = [];
  const row = (term: string, value: string) => rows.push(`<dt>${term}</dt><dd>${value}</dd>`);
  if (sdist) row('source', `${escape(sdist[0])}<code class="hash">sha256:${sdist[1]}</code>`);
  row('Python', escape(python));
  row('pip', escape(pip));
  row(
    'built with',
    requirements.length === 0
      ? 'no other packages'
      : requirements.map(([name, version]) => `${escape(name)} ${escape(version)}`).join(', '),
  );
  if (source_date_epoch !== null) row('timestamps', `${formatTime(source_date_epoch)} (SOURCE_DATE_EPOCH)`);
  return `<details class="origin"><summary>${summary}</summary><dl>${rows.join('')}</dl><p>${log}</p></details>`;
}

const formatTime = (seconds: number): string =>
  Math.abs(seconds) > 8.64e12
    ? String(seconds)
    : new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ') + ' UTC';
