import { existsSync, mkdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Project, SearchRow } from '../model/project.js';
import type { HomePageData } from '../protocols/site.js';
import type { Statistics } from '../protocols/statistics.js';
import {
  GZIP_SUFFIX,
  hasContent,
  readHead,
  removeFiles,
  removeStaleTemporaries,
  replaceFile,
  writeIfChanged,
} from '../files/atomic.js';
import { withDiskErrors } from '../files/disk.js';
import { DiskWatch, type DiskTrouble } from '../files/disk-watch.js';
import { PageBuffer } from '../files/page-buffer.js';
import { normalise } from '../wheels/names.js';
import { ASSETS } from './pages/assets.js';
import { farmPage, type QueueStatus, type PublicSlave } from './pages/farm.js';
import { faqPage } from './pages/faq.js';
import { homePage, statisticsJson } from './pages/home.js';
import {
  faqPath,
  farmPath,
  homePath,
  logPath,
  notFoundPath,
  packagesPath,
  projectPath,
  statisticsPath,
} from './layout.js';
import { logHtml, type Build } from './pages/log.js';
import { compressPages } from './compress-pages.js';
import { notFoundPage, packagesPage } from './pages/packages.js';
import { projectHtml } from './pages/project.js';
import { offeredFiles } from './pages/project-files.js';
import { projectJsonHead, projectJson, projectSerialOf } from './pages/project-json.js';
import { HEAD_BYTES } from './simple/serial.js';
import { writeSearch } from './pages/search.js';
import { writeSitemap } from './pages/sitemap.js';

const gzipAsync = promisify(gzip);
/** Logs compress well at any level. This one takes a third of the default level's time. */
const LOG_GZIP_LEVEL = 4;

interface SiteOptions {
  readonly outputPath: string;
  /** The URL at which people reach the site; null if unknown. */
  readonly publicUrl: string | null;
}

/** All packages, ordered by name and split into pages. */
type SearchPages = AsyncIterable<readonly SearchRow[]>;

/**
 * Writes the pages for people under the output path. Every page is replaced atomically. All of its content comes from
 * the database, including hashes, and none from the disk.
 */
export class Site {
  readonly #root: string;
  readonly #publicUrl: string | null;
  readonly #page = new PageBuffer();
  readonly #json = new PageBuffer();
  /** Settles when the latest write of the search is done: this process does one at a time. */
  #lastSearchWrite: Promise<void> = Promise.resolve();

  constructor(options: SiteOptions) {
    this.#root = options.outputPath;
    this.#publicUrl = options.publicUrl?.replace(/\/*$/, '/') ?? null;
  }

  /**
   * Creates the output path, writes the files that never change, and writes a first packages page, which every page
   * links to. Throws PIW_NOT_WRITABLE.
   */
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

  /**
   * Watches the disk that holds the output path. Calls `onTrouble` when it becomes full or read-only, and `onRecovered`
   * when it is writable again.
   */
  watchDisk(
    onTrouble: (trouble: DiskTrouble) => void,
    onRecovered: (trouble: DiskTrouble) => void,
  ): DiskWatch {
    return new DiskWatch(this.#root, onTrouble, onRecovered);
  }

  writeHome(statistics: Statistics, front: HomePageData): void {
    this.#write(homePath, homePage(statistics, front, this.#publicUrl));
  }

  /**
   * Writes the farm's page and statistics.json. `queue` and `slaves` are the state at `now` (milliseconds since 1970);
   * null if the source did not answer.
   */
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
   * Writes a project's page and its JSON, which begins with the serial under which this state was read and is replaced
   * last. Writes nothing if the JSON on the disk has a higher serial. JSON whose content is unchanged keeps its serial.
   */
  writeProject(project: Project, serial: number): void {
    const folder = join(this.#root, projectPath(project.package));
    const json = join(folder, 'json/index.json');
    const currentSerial = projectSerialOf(readHead(json, HEAD_BYTES)) ?? -1;
    if (currentSerial > serial) return;
    this.#page.clear();
    const offered = offeredFiles(project);
    projectHtml(project, offered, this.#publicUrl, this.#page);
    this.#json.clear();
    projectJson(project, offered, serial, this.#publicUrl, this.#json);
    const rest = this.#json.bytes.subarray(projectJsonHead(serial).length);
    if (hasContent(json, rest, projectJsonHead(currentSerial).length)) {
      writeIfChanged(join(folder, 'index.html'), this.#page.bytes);
      return;
    }
    replaceFile(join(folder, 'index.html'), this.#page.bytes);
    replaceFile(json, this.#json.bytes);
  }

  /** Removes a project's page and JSON, unless another writer has written them under a higher serial. */
  removeProject(name: string, serial: number): void {
    const folder = join(this.#root, projectPath(normalise(name)));
    const json = join(folder, 'json/index.json');
    if ((projectSerialOf(readHead(json, HEAD_BYTES)) ?? -1) > serial) return;
    removeFiles(join(folder, 'json'), ['index.json']);
    removeFiles(folder, ['index.html']);
  }

  /** Writes the compressed forms of a package's pages, or of the root's pages if `name` is null. */
  compressPages(name: string | null): Promise<void> {
    return compressPages(this.#root, name);
  }

  /** Writes a build's log as text and as a page. Both are stored compressed, as web servers send them. */
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

  /** Writes the search, the packages page and the lists of packages; see search.ts. */
  async writeSearch(pages: SearchPages): Promise<void> {
    const previous = this.#lastSearchWrite;
    const current = previous
      .catch(() => undefined)
      .then(() => writeSearch(this.#root, this.#publicUrl, pages));
    this.#lastSearchWrite = current;
    await current;
  }

  /** Writes the sitemap and robots.txt if the public URL is known; removes them otherwise. */
  async writeSitemap(pages: SearchPages): Promise<void> {
    await writeSitemap(this.#root, this.#publicUrl, pages);
  }

  #write(path: string, content: string | Buffer): void {
    writeIfChanged(join(this.#root, path), content);
  }
}
