import { existsSync, mkdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Project, SearchRow } from '../protocols/oracle.js';
import type { HomePageData } from '../protocols/site.js';
import type { Statistics } from '../protocols/statistics.js';
import { DiskWatch, type DiskTrouble } from '../wheels/disk-watch.js';
import { normalise } from '../wheels/names.js';
import { ASSETS } from './assets.js';
import {
  withDiskErrors,
  readHead,
  hasContent,
  removeFiles,
  removeStaleTemporaries,
  replaceFile,
  writeIfChanged,
} from './atomic.js';
import { farmPage, type QueueStatus, type PublicSlave } from './farm.js';
import { faqPage } from './faq.js';
import { homePage, statisticsJson } from './home.js';
import {
  GZIP_SUFFIX,
  faqPath,
  farmPath,
  homePath,
  logPath,
  notFoundPath,
  packagesPath,
  projectPath,
  statisticsPath,
} from './layout.js';
import { logHtml, type Build } from './log.js';
import { compressPages } from './pack.js';
import { PageBuffer } from './page-buffer.js';
import { notFoundPage, packagesPage } from './packages.js';
import { projectHtml } from './project.js';
import { projectJsonHead, projectJson, projectSerialOf } from './project-json.js';
import { HEAD_BYTES } from './serial.js';
import { writeSearch } from './search.js';
import { writeSitemap } from './sitemap.js';

const gzipAsync = promisify(gzip);
/** Logs compress well at any level; this one takes a third of the time of the default. */
const LOG_GZIP_LEVEL = 4;

export interface SiteOptions {
  readonly outputPath: string;
  /** The address under which people reach the site; null if it isn't known. */
  readonly publicUrl: string | null;
}

/** Pages of packages by name, each row once, until there are no more. */
export type SearchPages = AsyncIterable<readonly SearchRow[]>;

/**
 * Everything that people look at under the output path. Every page is replaced whole. What it
 * shows comes from the database, hashes too, and never from the disk.
 */
export class Site {
  readonly #root: string;
  readonly #publicUrl: string | null;
  readonly #page = new PageBuffer();
  readonly #json = new PageBuffer();
  /** Of the search there is one writer at a time in this process. */
  #lastSearchWrite: Promise<void> = Promise.resolve();

  constructor(options: SiteOptions) {
    this.#root = options.outputPath;
    this.#publicUrl = options.publicUrl?.replace(/\/*$/, '/') ?? null;
  }

  /** Makes the output path, with what never changes, and a first state of what everything links to. Raises PIW_NOT_WRITABLE. */
  setUp(): void {
    withDiskErrors(this.#root, () => {
      for (const folder of ['', 'project', 'logs', 'static', 'search'])
        mkdirSync(join(this.#root, folder), { recursive: true });
    });
    for (const folder of ['', 'static']) removeStaleTemporaries(join(this.#root, folder));
    for (const { path, content } of Object.values(ASSETS)) this.#write(path, content);
    this.#write(notFoundPath, notFoundPage(this.#publicUrl));
    this.#write(faqPath, faqPage(this.#publicUrl));
    if (!existsSync(join(this.#root, packagesPath)))
      this.#write(
        packagesPath,
        packagesPage({ packages: 0, letters: [], popular: [], ungrouped: [] }, this.#publicUrl),
      );
  }

  get outputPath(): string {
    return this.#root;
  }

  /** Watches the disk that it is written to; `began` and `ended` are called when that is full or read-only, and when not. */
  watchDisk(
    onTrouble: (trouble: DiskTrouble) => void,
    onRecovered: (trouble: DiskTrouble) => void,
  ): DiskWatch {
    return new DiskWatch(this.#root, onTrouble, onRecovered);
  }

  writeHome(statistics: Statistics, front: HomePageData): void {
    this.#write(homePath, homePage(statistics, front, this.#publicUrl));
  }

  /** The farm's page, and the statistics as JSON. The queue and the slaves at the moment `now`, milliseconds since 1970; null for what did not answer. */
  writeFarm(
    statistics: Statistics,
    queue: QueueStatus | null,
    slaves: readonly PublicSlave[] | null,
    now: number,
  ): void {
    this.#write(statisticsPath, statisticsJson(statistics));
    this.#write(farmPath, farmPage(statistics, queue, slaves, now, this.#publicUrl));
  }

  /**
   * A project's page, and the same as JSON, which begins with the serial under which this state was read, and is
   * replaced last. Who comes with a lower serial than is there comes too late, and writes nothing; what says the same
   * keeps the one it has.
   */
  writeProject(project: Project, serial: number): void {
    const folder = join(this.#root, projectPath(project.package));
    const json = join(folder, 'json/index.json');
    const currentSerial = withDiskErrors(json, () => projectSerialOf(readHead(json, HEAD_BYTES))) ?? -1;
    if (currentSerial > serial) return;
    this.#page.clear();
    projectHtml(project, this.#publicUrl, this.#page);
    this.#json.clear();
    projectJson(project, serial, this.#publicUrl, this.#json);
    const rest = this.#json.bytes.subarray(projectJsonHead(serial).length);
    if (withDiskErrors(json, () => hasContent(json, rest, projectJsonHead(currentSerial).length))) {
      writeIfChanged(join(folder, 'index.html'), this.#page.bytes);
      return;
    }
    replaceFile(join(folder, 'index.html'), this.#page.bytes);
    replaceFile(json, this.#json.bytes);
  }

  /** Takes a project's page away, unless another writer has put one there under a higher serial. */
  removeProject(name: string, serial: number): void {
    const folder = join(this.#root, projectPath(normalise(name)));
    const json = join(folder, 'json/index.json');
    if ((withDiskErrors(json, () => projectSerialOf(readHead(json, HEAD_BYTES))) ?? -1) > serial) return;
    removeFiles(join(folder, 'json'), ['index.json']);
    removeFiles(folder, ['index.html']);
  }

  /** Makes the compressed forms of what stands there of a package, or (null) of the root. */
  compressPages(name: string | null): Promise<void> {
    return compressPages(this.#root, name);
  }

  /** A build's log, as it is and as a page, compressed, as web servers hand it out. */
  async writeLog(build: Build): Promise<void> {
    const forms = [
      ['txt', build.output],
      ['html', logHtml(build, this.#publicUrl)],
    ] as const;
    for (const [form, text] of forms)
      this.#write(
        `${logPath(build.build_id, form)}${GZIP_SUFFIX}`,
        await gzipAsync(text, { level: LOG_GZIP_LEVEL }),
      );
  }

  /** Removes a build's log in all of its forms. */
  removeLog(buildId: number): void {
    const [html, txt] = [logPath(buildId, 'html'), logPath(buildId, 'txt')];
    removeFiles(join(this.#root, dirname(html)), [basename(html), basename(txt)]);
  }

  /** The search, the page of all packages, and their lists. See search.ts. */
  async writeSearch(pages: SearchPages): Promise<void> {
    const previous = this.#lastSearchWrite;
    const current = previous
      .catch(() => undefined)
      .then(() => writeSearch(this.#root, this.#publicUrl, pages));
    this.#lastSearchWrite = current;
    await current;
  }

  /** The sitemap and robots.txt, where the public address is known. */
  async writeSitemap(pages: SearchPages): Promise<void> {
    await writeSitemap(this.#root, this.#publicUrl, pages);
  }

  #write(path: string, content: string | Buffer): void {
    writeIfChanged(join(this.#root, path), content);
  }
}
