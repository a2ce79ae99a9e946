import type { Project, ProjectFile } from '../protocols/oracle.js';
import { bytes, countOf, day, escape, pathPart } from './html.js';
import type { PageBuffer } from './page-buffer.js';

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
