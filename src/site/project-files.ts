import type { Project, ProjectFile } from '../protocols/oracle.js';
import { reasonSentence } from './failures.js';
import { bytes, countOf, day, duration, escape, pathPart } from './html.js';
import { logPath } from './layout.js';
import type { PageBuffer } from './page-buffer.js';

/** From a project's page to the top of the site. */
export const PROJECT_ROOT = '../../';
/** So many of the newest versions are shown at once; the older ones are folded away. */
export const AT_ONCE = 25;

/** The files that a project offers, by version. */
export type Offered = ReadonlyMap<string, readonly ProjectFile[]>;

/** Returns true for a wheel that an administrator handed in: no slave of this farm has built it. */
export const isImported = ({ build_id, slave }: Pick<ProjectFile, 'build_id' | 'slave'>): boolean =>
  build_id !== null && slave === null;

export function byVersion(files: readonly ProjectFile[]): Offered {
  const by = new Map<string, ProjectFile[]>();
  for (const file of files) {
    const known = by.get(file.version);
    if (known) known.push(file);
    else by.set(file.version, [file]);
  }
  return by;
}

/** Adds the files of each version; those of the newest are in sight. */
export function addFiles(project: Project, offered: Offered, page: PageBuffer): void {
  const folder = `${PROJECT_ROOT}simple/${project.package}/`;
  const shown = project.versions.filter(({ version }) => offered.has(version));
  for (const [n, { version }] of shown.entries()) {
    if (n === AT_ONCE)
      page.add(
        `<details class="older"><summary>Files of ${countOf(shown.length - AT_ONCE, 'older version')}</summary>`,
      );
    addGroup(version, offered.get(version) ?? [], folder, n === 0, page);
  }
  if (shown.length > AT_ONCE) page.add('</details>');
}

function addGroup(
  version: string,
  its: readonly ProjectFile[],
  folder: string,
  open: boolean,
  page: PageBuffer,
): void {
  let size = 0;
  for (const file of its) size += file.filesize;
  page.add(
    `<details class="files"${open ? ' open' : ''}><summary>${escape(version)} <span>${countOf(its.length, 'wheel')}, ${bytes(size)}</span></summary><ul>\n`,
  );
  for (const file of its) page.add(fileRow(file, folder));
  page.add('</ul></details>\n');
}

function fileRow(file: ProjectFile, folder: string): string {
  const { filename, requires_python, yanked, remark, dependencies } = file;
  const apt = dependencies['apt'] ?? [];
  const facts = [
    bytes(file.filesize),
    day(file.uploaded),
    requires_python === null || requires_python === '' ? 'any Python' : `Python ${escape(requires_python)}`,
    countOf(file.downloads, 'download'),
  ];
  if (apt.length > 0) facts.push(`needs ${escape(apt.join(' '))}`);
  const badges = `${yanked === null ? '' : ' <b class="badge failed">yanked</b>'}${remark === null ? '' : ' <b class="badge building">remark</b>'}`;
  const said = remark === null ? '' : `<p class="remark">${escape(reasonSentence(remark))}</p>`;
  return `<li><div class="file"><a href="${folder}${pathPart(filename)}">${escape(filename)}</a>${badges}</div>${said}<div class="soft">${facts.join(' · ')}</div><code class="hash">sha256:${file.sha256}</code>${origin(file)}</li>\n`;
}

/** When, where and for how long a wheel was built, and, folded away, from what and with what. */
function origin(file: ProjectFile): string {
  const { build_id, built, duration_s, slave, provenance } = file;
  if (build_id === null || built === null) return '';
  const log = ` <a href="${PROJECT_ROOT}${logPath(build_id)}">Log<span class="unseen"> of ${escape(file.filename)}</span></a>`;
  const how = isImported(file)
    ? `Imported on ${day(built)}`
    : `Built on ${day(built)} by ${escape(slave ?? '')} in ${duration(duration_s ?? 0)}`;
  if (provenance === null) return `<div class="soft">${how}.${isImported(file) ? '' : log}</div>`;
  const { sdist, python, pip, requirements, source_date_epoch } = provenance;
  const rows: string[] = [];
  const row = (term: string, value: string) => rows.push(`<dt>${term}</dt><dd>${value}</dd>`);
  if (sdist) row('source', `${escape(sdist[0])}<code class="hash">sha256:${sdist[1]}</code>`);
  row('Python', escape(python));
  row('pip', escape(pip));
  row(
    'built with',
    requirements.length === 0
      ? 'nothing else'
      : requirements.map(([name, version]) => `${escape(name)} ${escape(version)}`).join(', '),
  );
  if (source_date_epoch !== null) row('time stamps', `${time(source_date_epoch)} (SOURCE_DATE_EPOCH)`);
  return `<details class="origin"><summary>${how}</summary><dl>${rows.join('')}</dl><p>${log}</p></details>`;
}

const time = (seconds: number): string =>
  Math.abs(seconds) > 8.64e12
    ? String(seconds)
    : new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ') + ' UTC';
