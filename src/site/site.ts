import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Project } from '../protocols/oracle.js';
import type { Statistics } from '../protocols/statistics.js';
import { normalise } from '../wheels/names.js';
import { guarded, removeFiles, removeTemporary, writeAtomic } from './atomic.js';
import { CSS } from './design.js';
import { pack } from './pack.js';
import { PACKED, homePath, logPath, notFoundPath, projectPath, statisticsPath } from './layout.js';
import { homePage, notFoundPage, projectJson, projectPage, statisticsJson } from './pages.js';

export interface SiteOptions {
  readonly outputPath: string;
  /** The address under which people reach the site; null if it isn't known. */
  readonly publicUrl: string | null;
}

/**
 * Everything that people look at under the output path. Every page is replaced whole. What it
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
    this.#write(notFoundPath, notFoundPage());
  }

  writeHome(statistics: Statistics): void {
    this.#write(homePath, homePage(statistics, this.#publicUrl));
    this.#write(statisticsPath, statisticsJson(statistics));
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

  /** Makes the compressed forms of what stands there of a package, or (null) of the root. */
  pack(name: string | null): Promise<void> {
    return pack(this.#root, name);
  }

  /** A build's log, compressed, as web servers hand it out. */
  writeLog(buildId: number, text: string): void {
    this.#write(`${logPath(buildId, 'txt')}${PACKED}`, gzipSync(text));
  }

  #write(path: string, content: string | Buffer): void {
    writeAtomic(join(this.#root, path), content);
  }
}
