import { join } from 'node:path';
import { normalise } from '../wheels/names.js';
import { removeFiles, writeAtomic } from './atomic.js';
import { SIBLINGS, simplePath } from './layout.js';
import { projectHtml, projectJson, rootHtml, rootJson, type SimpleProject } from './simple.js';

/** The simple index under the output path, which pip, uv and Poetry install from; all of it but the wheels. */
export class SimpleIndex {
  readonly #root: string;

  constructor(outputPath: string) {
    this.#root = outputPath;
  }

  /** The names of all packages that have a file. */
  writeRoot(names: readonly string[]): void {
    this.#siblings(simplePath(), rootHtml(names), rootJson(names));
  }

  /** A package's page of the simple index; its files are in their places by now. */
  write(project: SimpleProject): void {
    this.#siblings(simplePath(project.name), projectHtml(project), projectJson(project));
  }

  /** Takes a package out of the simple index; its files go afterwards. */
  remove(name: string): void {
    removeFiles(join(this.#root, simplePath(normalise(name))), [...SIBLINGS].reverse());
  }

  #siblings(folder: string, asHtml: string, asJson: string): void {
    writeAtomic(join(this.#root, folder, 'index.v1_json'), asJson);
    writeAtomic(join(this.#root, folder, 'index.v1_html'), asHtml);
    writeAtomic(join(this.#root, folder, 'index.html'), asHtml);
  }
}
