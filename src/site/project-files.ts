import type { Project, ProjectFile } from '../protocols/oracle.js';
import { bytes, countOf, day, escape, pathPart } from './html.js';

/** From a project's page to the top of the site. */
export const PROJECT_ROOT = '../../';
/** So many of the newest versions are shown at once; the older ones are folded away. */
export const AT_ONCE = 25;

/** The files that a project offers, by version. */
export type Offered = ReadonlyMap<string, readonly ProjectFile[]>;

export function byVersion(files: readonly ProjectFile[]): Offered {
  const by = new Map<string, ProjectFile[]>();
  for (const file of files) {
    const known = by.get(file.version);
    if (known) known.push(file);
    else by.set(file.version, [file]);
  }
  return by;
}

/** The files of each version; those of the newest are in sight. */
export function files(project: Project, offered: Offered): string {
  const folder = `${PROJECT_ROOT}simple/${project.package}/`;
  let [seen, shown, older] = ['', 0, ''];
  for (const { version } of project.versions) {
    const its = offered.get(version);
    if (!its) continue;
    shown += 1;
    const group = fileGroup(version, its, folder, shown === 1);
    if (shown <= AT_ONCE) seen += group;
    else older += group;
  }
  return older === ''
    ? seen
    : `${seen}<details class="older"><summary>Files of ${countOf(shown - AT_ONCE, 'older version')}</summary>${older}</details>`;
}

function fileGroup(version: string, its: readonly ProjectFile[], folder: string, open: boolean): string {
  let [rows, size] = ['', 0];
  for (const file of its) {
    rows += fileRow(file, folder);
    size += file.filesize;
  }
  return `<details class="files"${open ? ' open' : ''}><summary>${escape(version)} <span>${countOf(its.length, 'wheel')}, ${bytes(size)}</span></summary><ul>\n${rows}</ul></details>\n`;
}

function fileRow(file: ProjectFile, folder: string): string {
  const { filename, requires_python, yanked, dependencies } = file;
  const apt = dependencies['apt'];
  return `<li><a href="${folder}${pathPart(filename)}">${escape(filename)}</a>${
    yanked === null ? '' : ' <b class="badge failed">yanked</b>'
  }<span>${bytes(file.filesize)}</span><span>${day(file.uploaded)}</span><span>${
    requires_python === null || requires_python === '' ? 'any Python' : `Python ${escape(requires_python)}`
  }</span><span>${countOf(file.downloads, 'download')}</span>${
    apt === undefined || apt.length === 0 ? '' : `<span>needs ${escape(apt.join(' '))}</span>`
  }<code>sha256:${file.sha256}</code></li>\n`;
}
