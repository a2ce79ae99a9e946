import type { CoreMetadata } from '../../model/fields.js';
import type { IndexedFile, Project } from '../../model/project.js';
import { escape } from '../pages/html.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { escapeJson, jsonText } from '../json.js';
import { rememberLast } from '../remember-last.js';
import type { FileTexts } from './file-texts.js';
import { parseSerial } from './serial.js';

/** The version of the simple API: PEP 503, 592, 629, 658, 691, 700, 714, 792, and the serials of PyPI's mirroring API. */
const API_VERSION = '1.4';

export interface SimpleProject {
  readonly name: string;
  readonly status: Project['status'];
  readonly versions: readonly string[];
  readonly files: readonly IndexedFile[];
  /** From the METADATA of the newest release, if that is known. */
  readonly metadata?: CoreMetadata | null;
}

/**
 * How every JSON page begins, up to its serial, so that the serial can be read from the first bytes of the file. Keys
 * that begin with `_` are private to an index (PEP 691); this one is PyPI's.
 */
const JSON_HEAD = `{"meta":{"api-version":"${API_VERSION}","_last-serial":`;
/** Returns the serial of a page from the first bytes of its JSON; undefined for anything else. */
export const simpleSerialOf = (head: string | undefined): number | undefined => parseSerial(head, JSON_HEAD);

/** Returns how a JSON page begins under this serial. The rest does not depend on the serial. */
export const simpleJsonHead = (serial: number): string => `${JSON_HEAD}${serial}`;

const htmlHead = (title: string, more = ''): string =>
  `<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="pypi:repository-version" content="${API_VERSION}">\n${more}<title>${escape(title)}</title>\n</head>\n<body>\n`;
const HTML_FOOT = '</body>\n</html>\n';

/** The root in HTML: its head, its entries page by page, and its foot. It has too many names to hold at once. */
export const ROOT_HTML = {
  head: htmlHead('Simple index'),
  entries: (projects: readonly (readonly [name: string, serial: number])[]): string => {
    let text = '';
    for (const [name] of projects) text += `<a href="${name}/">${name}</a><br>\n`;
    return text;
  },
  foot: HTML_FOOT,
};

/** The root in JSON. No project in it has a higher serial than the root itself. */
export const ROOT_JSON = {
  head: (serial: number): string => `${simpleJsonHead(serial)}},"projects":[`,
  entries: (
    projects: readonly (readonly [name: string, serial: number])[],
    maxSerial: number,
    first: boolean,
  ): string => {
    let text = '';
    for (const [name, serial] of projects)
      text += `,{"name":"${name}","_last-serial":${Math.min(serial, maxSerial)}}`;
    return first ? text.slice(1) : text;
  },
  foot: ']}',
};

/**
 * Writes one anchor for each file, with the filename as its text. `data-dist-info-metadata` is left out: with it, pip
 * 22.3 to 23.0.1 finds no files of a project whose name is not typed in normalised form.
 */
export function simpleHtml(
  { name, status }: SimpleProject,
  files: readonly FileTexts[],
  page: PageBuffer,
): void {
  const statusMeta = status === 'active' ? '' : `<meta name="pypi:project-status" content="${status}">\n`;
  page.add(`${htmlHead(`Links for ${name}`, statusMeta)}<h1>Links for ${escape(name)}</h1>\n`);
  for (const { file, html, url, yanked } of files) {
    const yankedAttribute = yanked === null ? '' : ` data-yanked="${escape(yanked)}"`;
    page.add(
      `<a href="${url}#sha256=${file.sha256}"${requiresPythonAttribute(file.requires_python)}${yankedAttribute} data-core-metadata="sha256=${file.metadata_sha256}">${html}</a><br>\n`,
    );
  }
  page.add(HTML_FOOT);
}

const requiresPythonAttribute = rememberLast((python: string | null) =>
  python === null ? '' : ` data-requires-python="${escape(python)}"`,
);

/** Writes everything after the serial. JSON never contains `dist-info-metadata`: pip 22.3 and later fail on it. */
export function simpleJson(
  { name, status, versions }: SimpleProject,
  files: readonly FileTexts[],
  page: PageBuffer,
): void {
  page.add(
    `},"name":"${escapeJson(name)}","project-status":{"status":"${status}"},"versions":[${versions.map(jsonText).join(',')}],"files":[`,
  );
  let comma = '';
  for (const { file, json, url, uploaded, requiresPython, yanked } of files) {
    const requires = file.requires_python === null ? '' : `,"requires-python":${requiresPython}`;
    const yankedValue = yanked === null ? 'false' : yanked === '' ? 'true' : jsonText(yanked);
    page.add(
      `${comma}{"filename":"${json}","url":"${url}","hashes":{"sha256":"${file.sha256}"},"size":${file.filesize},"upload-time":"${uploaded}"${requires},"yanked":${yankedValue},"core-metadata":{"sha256":"${file.metadata_sha256}"},"provenance":null}`,
    );
    comma = ',';
  }
  page.add(']}');
}
