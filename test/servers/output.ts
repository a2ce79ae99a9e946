import { mkdirSync, mkdtempSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { GZIP_SUFFIX } from '../../src/files/atomic.js';
import {
  FILES_LINK,
  logPath,
  notFoundPath,
  packagesPath,
  projectPath,
  pypiPath,
  simplePath,
} from '../../src/site/layout.js';

export const WHEEL = 'demo_pkg-1.0+local.1-py3-none-any.whl';
export const LOG = 'a log\n'.repeat(1000);
export const LOG_BUILD = 12;
/** The contents of each file, by its path. */
export const CONTENTS: Readonly<Record<string, string>> = {
  'index.html': '<!DOCTYPE html>home',
  [packagesPath]: '<!DOCTYPE html>packages',
  [notFoundPath]: '<!DOCTYPE html>not here',
  'robots.txt': 'User-agent: *\n',
  'static/site.css': 'body {}\n',
  'static/site.0123abcd.js': '1\n',
  'statistics.json': '{}',
  [`${simplePath()}/index.html`]: '<!DOCTYPE html>root',
  [`${simplePath()}/index.v1_html`]: '<!DOCTYPE html>root, v1',
  [`${simplePath()}/index.v1_json`]: '{"meta":{},"projects":[]}',
  [`${simplePath('demo-pkg')}/index.html`]: '<!DOCTYPE html>demo-pkg',
  [`${simplePath('demo-pkg')}/index.v1_html`]: '<!DOCTYPE html>demo-pkg, v1',
  [`${simplePath('demo-pkg')}/index.v1_json`]: '{"name":"demo-pkg","files":[]}',
  [`${simplePath('demo-pkg')}/${WHEEL}`]: '0123456789',
  [`${simplePath('demo-pkg')}/${WHEEL}.metadata`]: 'Metadata-Version: 2.1\n',
  [`${projectPath('demo-pkg')}/index.html`]: '<!DOCTYPE html>demo-pkg, for people',
  [`${projectPath('demo-pkg')}/json/index.json`]: '{"package":"demo-pkg"}',
  [`${pypiPath('demo-pkg')}/7.json`]: '{"last_serial":7,"info":{}}',
  // A package may have this name.
  [`${projectPath('json')}/index.html`]: '<!DOCTYPE html>json, for people',
  '.secret': 'x',
  '.transfers/1': 'x',
  [`${simplePath('demo-pkg')}/.tmp-0123`]: 'half a page',
};
/** The files that also exist compressed. */
const PACKED_PAGES = [
  'index.html',
  `${simplePath('demo-pkg')}/index.v1_json`,
  `${projectPath('demo-pkg')}/index.html`,
];

/** The modification time of all files: not within the last minutes, since some servers ignore times in the future. */
const AN_HOUR_AGO = new Date(Date.now() - 3_600_000);

/** Creates an output path with a file of each kind. */
export function makeOutput(): string {
  const root = mkdtempSync(join(tmpdir(), 'piw-output-'));
  const write = (path: string, content: string | Buffer): string => {
    const fullPath = join(root, path);
    mkdirSync(dirname(fullPath), { recursive: true });
    writeFileSync(fullPath, content, { mode: 0o644 });
    utimesSync(fullPath, AN_HOUR_AGO, AN_HOUR_AGO);
    return fullPath;
  };
  for (const [path, content] of Object.entries(CONTENTS)) write(path, content);
  symlinkSync('7.json', join(root, pypiPath('demo-pkg'), 'json'));
  symlinkSync(simplePath(), join(root, FILES_LINK));
  for (const form of ['txt', 'html'] as const) write(logPath(LOG_BUILD, form) + GZIP_SUFFIX, gzipSync(LOG));
  for (const path of PACKED_PAGES) write(path + GZIP_SUFFIX, gzipSync(CONTENTS[path] ?? ''));
  return root;
}
