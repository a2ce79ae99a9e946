import { existsSync, mkdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Project, SearchRow } from '../protocols/oracle.js';
import type { Front } from '../protocols/site.js';
import type { Statistics } from '../protocols/statistics.js';
import { DiskWatch, type DiskTrouble } from '../wheels/disk-watch.js';
import { normalise } from '../wheels/names.js';
import { ASSETS } from './assets.js';
import { guarded, headOf, holds, removeFiles, removeTemporary, replace, writeAtomic } from './atomic.js';
import { farmPage, type Queue, type ShownSlave } from './farm.js';
import { faqPage } from './faq.js';
import { homePage, statisticsJson } from './home.js';
import {
  PACKED,
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
import { pack } from './pack.js';
import { PageBuffer } from './page-buffer.js';
import { notFoundPage, packagesPage } from './packages.js';
import { projectHtml } from './project.js';
import { projectBegins, projectJson, projectSerialOf } from './project-json.js';
import { HEAD_BYTES } from './serial.js';
import { writeSearch } from './search.js';
import { writeSitemap } from './sitemap.js';

const packed = promisify(gzip);
/** Logs compress well at any level; this one takes a third of the time of the default. */
const LEVEL = 4;

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
  #searching: Promise<void> = Promise.resolve();

  constructor(options: SiteOptions) {
    this.#root = options.outputPath;
    this.#publicUrl = options.publicUrl?.replace(/\/*$/, '/') ?? null;
  }

  /** Makes the output path, with what never changes, and a first state of what everything links to. Raises PIW_NOT_WRITABLE. */
  setUp(): void {
    guarded(this.#root, () => {
      for (const folder of ['', 'project', 'logs', 'static', 'search'])
        mkdirSync(join(this.#root, folder), { recursive: true });
    });
    for (const folder of ['', 'static']) removeTemporary(join(this.#root, folder));
    for (const { path, content } of Object.values(ASSETS)) this.#write(path, content);
    this.#write(notFoundPath, notFoundPage(this.#publicUrl));
    this.#write(faqPath, faqPage(this.#publicUrl));
    if (!existsSync(join(this.#root, packagesPath)))
      this.#write(
        packagesPath,
        packagesPage({ packages: 0, letters: [], popular: [], few: [] }, this.#publicUrl),
      );
  }

  get outputPath(): string {
    return this.#root;
  }

  /** Watches the disk that it is written to; `began` and `ended` are called when that is full or read-only, and when not. */
  watchDisk(began: (trouble: DiskTrouble) => void, ended: (trouble: DiskTrouble) => void): DiskWatch {
    return new DiskWatch(this.#root, began, ended);
  }

  writeHome(statistics: Statistics, front: Front): void {
    this.#write(homePath, homePage(statistics, front, this.#publicUrl));
  }

  /** The farm's page, and the statistics as JSON. The queue and the slaves at the moment `now`, milliseconds since 1970; null for what did not answer. */
  writeFarm(
    statistics: Statistics,
    queue: Queue | null,
    slaves: readonly ShownSlave[] | null,
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
    const its = guarded(json, () => projectSerialOf(headOf(json, HEAD_BYTES))) ?? -1;
    if (its > serial) return;
    this.#page.clear();
    projectHtml(project, this.#publicUrl, this.#page);
    this.#json.clear();
    projectJson(project, serial, this.#publicUrl, this.#json);
    const rest = this.#json.bytes.subarray(projectBegins(serial).length);
    if (guarded(json, () => holds(json, rest, projectBegins(its).length))) {
      writeAtomic(join(folder, 'index.html'), this.#page.bytes);
      return;
    }
    replace(join(folder, 'index.html'), this.#page.bytes);
    replace(json, this.#json.bytes);
  }

  /** Takes a project's page away, unless another writer has put one there under a higher serial. */
  removeProject(name: string, serial: number): void {
    const folder = join(this.#root, projectPath(normalise(name)));
    const json = join(folder, 'json/index.json');
    if ((guarded(json, () => projectSerialOf(headOf(json, HEAD_BYTES))) ?? -1) > serial) return;
    removeFiles(join(folder, 'json'), ['index.json']);
    removeFiles(folder, ['index.html']);
  }

  /** Makes the compressed forms of what stands there of a package, or (null) of the root. */
  pack(name: string | null): Promise<void> {
    return pack(this.#root, name);
  }

  /** A build's log, as it is and as a page, compressed, as web servers hand it out. */
  async writeLog(build: Build): Promise<void> {
    const forms = [
      ['txt', build.output],
      ['html', logHtml(build, this.#publicUrl)],
    ] as const;
    for (const [form, text] of forms)
      this.#write(`${logPath(build.build_id, form)}${PACKED}`, await packed(text, { level: LEVEL }));
  }

  /** Removes a build's log in all of its forms. */
  removeLog(buildId: number): void {
    const [html, txt] = [logPath(buildId, 'html'), logPath(buildId, 'txt')];
    removeFiles(join(this.#root, dirname(html)), [basename(html), basename(txt)]);
  }

  /** The search, the page of all packages, and their lists. See search.ts. */
  async writeSearch(pages: SearchPages): Promise<void> {
    const before = this.#searching;
    const mine = before.catch(() => undefined).then(() => writeSearch(this.#root, this.#publicUrl, pages));
    this.#searching = mine;
    await mine;
  }

  /** The sitemap and robots.txt, where the public address is known. */
  async writeSitemap(pages: SearchPages): Promise<void> {
    await writeSitemap(this.#root, this.#publicUrl, pages);
  }

  #write(path: string, content: string | Buffer): void {
    writeAtomic(join(this.#root, path), content);
  }
}
