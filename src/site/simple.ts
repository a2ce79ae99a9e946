import type { IndexedFile, Project } from '../protocols/oracle.js';
import { escape } from './html.js';

/** The simple index: PEP 503, 592, 629, 658, 691, 700, 714, 792; see docs of each rule below. */
export const API_VERSION = '1.4';

export interface SimpleProject {
  readonly name: string;
  readonly status: Project['status'];
  readonly versions: readonly string[];
  readonly files: readonly IndexedFile[];
}

/** A path of a file beside its index; `+` and `!` of versions stay readable to every client. */
const href = (filename: string): string => encodeURIComponent(filename);

const head = (title: string, more = ''): string =>
  `<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="pypi:repository-version" content="${API_VERSION}">\n${more}<title>${escape(title)}</title>\n</head>\n<body>\n`;

export function rootHtml(names: readonly string[]): string {
  const anchors = names.map((name) => `<a href="${name}/">${name}</a><br>\n`).join('');
  return `${head('Simple index')}${anchors}</body>\n</html>\n`;
}

export function rootJson(names: readonly string[]): string {
  return JSON.stringify({ meta: { 'api-version': API_VERSION }, projects: names.map((name) => ({ name })) });
}

/** One anchor a file, its text the filename; a quarantined project has none. */
export function projectHtml({ name, status, files }: SimpleProject): string {
  const marker = status === 'active' ? '' : `<meta name="pypi:project-status" content="${status}">\n`;
  const anchors = files.map((file) => {
    const metadata = `sha256=${file.metadata_sha256}`;
    const attributes = [
      `href="${href(file.filename)}#sha256=${file.sha256}"`,
      file.requires_python === null ? '' : `data-requires-python="${escape(file.requires_python)}"`,
      file.yanked === null ? '' : `data-yanked="${escape(file.yanked)}"`,
      `data-core-metadata="${metadata}"`,
      `data-dist-info-metadata="${metadata}"`,
    ];
    return `<a ${attributes.filter((a) => a !== '').join(' ')}>${escape(file.filename)}</a><br>\n`;
  });
  return `${head(`Links for ${name}`, marker)}<h1>Links for ${escape(name)}</h1>\n${anchors.join('')}</body>\n</html>\n`;
}

/** `dist-info-metadata` never stands in JSON: pip from 22.3 on fails on it. */
export function projectJson({ name, status, versions, files }: SimpleProject): string {
  return JSON.stringify({
    meta: { 'api-version': API_VERSION },
    name,
    'project-status': { status },
    versions,
    files: files.map((file) => ({
      filename: file.filename,
      url: href(file.filename),
      hashes: { sha256: file.sha256 },
      size: file.filesize,
      'upload-time': uploadTime(file.uploaded),
      ...(file.requires_python === null ? {} : { 'requires-python': file.requires_python }),
      yanked: file.yanked === null ? false : file.yanked === '' ? true : file.yanked,
      'core-metadata': { sha256: file.metadata_sha256 },
      provenance: null,
    })),
  });
}

/** `YYYY-MM-DDTHH:MM:SS.ffffffZ` */
const uploadTime = (ms: number): string => new Date(ms).toISOString().replace(/\.(\d{3})Z$/, '.$1000Z');
