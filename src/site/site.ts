import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Project } from '../protocols/oracle.js';
import type { Statistics } from '../protocols/statistics.js';
import { normalise } from '../wheels/names.js';
import { guarded, removeFiles, removeTemporary, writeAtomic } from './atomic.js';
import { CSS } from './design.js';
import { SIBLINGS, homePath, logPath, projectPath, simplePath } from './layout.js';
import { homePage, notFoundPage, projectJson, projectPage, statisticsJson } from './pages.js';
import { projectHtml, projectJson as simpleJson, rootHtml, rootJson, type SimpleProject } from './simple.js';

export interface SiteOptions {
  readonly outputPath: string;
  /** The address under which people reach the site; null if it isn't known. */
  readonly publicUrl: string | null;
}

/**
 * Everything that stands under the output path but the wheels. Every page is replaced whole. What it
 * shows comes from the database, hashes too, and never from the disk.
 */
export class Site {
  readonly #root: string;
  readonly #publicUrl: string | null;

  constructor(options: SiteOptions) {
    this.#root = options.outputPath;
    this.#publicUrl = options.publicUrl;
  }

  /** Makes the output path, with what never changes. Raises PIW_NOT_WRITABLE. */
  setUp(): void {
    guarded(this.#root, () => {
      for (const folder of ['', 'simple', 'project', 'logs', 'static'])
        mkdirSync(join(this.#root, folder), { recursive: true });
    });
    for (const folder of ['', 'simple', 'static']) removeTemporary(join(this.#root, folder));
    this.#write('static/site.css', CSS);
    this.#write('404.html', notFoundPage());
  }

  writeHome(statistics: Statistics): void {
    this.#write(homePath, homePage(statistics, this.#publicUrl));
    this.#write('statistics.json', statisticsJson(statistics));
  }

  /** The names of all packages that have a file. */
  writeRoot(names: readonly string[]): void {
    this.#siblings(simplePath(), rootHtml(names), rootJson(names));
  }

  /** A package's page of the simple index; its files are in their places by now. */
  writeSimple(project: SimpleProject): void {
    this.#siblings(simplePath(project.name), projectHtml(project), simpleJson(project));
  }

  /** Takes a package out of the simple index; its files go afterwards. */
  removeSimple(name: string): void {
    removeFiles(join(this.#root, simplePath(normalise(name))), [...SIBLINGS].reverse());
  }

  writeProject(project: Project): void {
    const folder = projectPath(project.package);
    this.#write(`${folder}/index.html`, projectPage(project, this.#publicUrl));
    this.#write(`${folder}/json/index.json`, projectJson(project));
  }

  removeProject(name: string): void {
    const folder = join(this.#root, projectPath(normalise(name)));
    removeFiles(join(folder, 'json'), ['index.json']);
    removeFiles(folder, ['index.html']);
  }

  /** A build's log, compressed, as web servers hand it out. */
  writeLog(buildId: number, text: string): void {
    this.#write(logPath(buildId), gzipSync(text));
  }

  #siblings(folder: string, asHtml: string, asJson: string): void {
    this.#write(`${folder}/index.v1_json`, asJson);
    this.#write(`${folder}/index.v1_html`, asHtml);
    this.#write(`${folder}/index.html`, asHtml);
  }

  #write(path: string, content: string | Buffer): void {
    writeAtomic(join(this.#root, path), content);
  }
}
