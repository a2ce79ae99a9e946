import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { normalise } from '../wheels/names.js';
import {
  alias,
  guarded,
  headOf,
  holds,
  removeFiles,
  removeTemporary,
  replace,
  writeAtomic,
} from './atomic.js';
import { Growing } from './growing.js';
import { FILES_LINK, SIBLINGS, simplePath } from './layout.js';
import { PageBuffer } from './page-buffer.js';
import { removePypi, writePypi } from './pypi-files.js';
import { pypiJson } from './pypi-json.js';
import { HEAD_BYTES } from './serial.js';
import {
  ROOT_HTML,
  ROOT_JSON,
  beginsWith,
  projectHtml,
  projectJson,
  serialOf,
  type SimpleProject,
} from './simple.js';

const [HTML, V1_HTML, V1_JSON] = SIBLINGS;

/**
 * The simple index under the output path, which pip, uv and Poetry install from, and the same as PyPI's JSON API,
 * which bandersnatch mirrors from; all of it but the wheels.
 *
 * The two forms in HTML are one file: index.v1_html is another name for index.html. A page's JSON bears its serial, and
 * is in its place after its HTML and PyPI's JSON: so it tells of all of them. Who comes with a lower serial than the
 * page has comes too late, and writes nothing.
 */
export class SimpleIndex {
  readonly #root: string;
  readonly #publicUrl: string | null;
  readonly #html = new PageBuffer();
  readonly #json = new PageBuffer();
  readonly #pypi = new PageBuffer();

  /** `publicUrl`: the address under which mirrors reach the site; null if it isn't known. */
  constructor(outputPath: string, publicUrl: string | null = null) {
    this.#root = outputPath;
    this.#publicUrl = publicUrl?.replace(/\/*$/, '/') ?? null;
  }

  /** Makes the folder, and takes out of it what was left by one that was killed. Raises PIW_NOT_WRITABLE. */
  setUp(): void {
    const folder = this.#path(simplePath());
    guarded(folder, () => mkdirSync(folder, { recursive: true }));
    alias(this.#root, FILES_LINK, simplePath());
    removeTemporary(folder);
  }

  /**
   * Writes a package's page, whose files are in their places by now, under this serial; one that says the same already
   * keeps the one it has, if the root has it under that (`listed`). Gives the serial of the page as it
   * stands there then, which is higher where another writer was faster. Raises PIW_DISK_FULL, PIW_NOT_WRITABLE.
   */
  write(project: SimpleProject, serial: number, listed: number | null = null): number {
    const folder = this.#path(simplePath(project.name));
    const index = join(folder, HTML);
    const v1Json = join(folder, V1_JSON);
    const before = guarded(v1Json, () => headOf(v1Json, HEAD_BYTES));
    const its = serialOf(before) ?? -1;
    if (its > serial) return its;
    this.#html.clear();
    projectHtml(project, this.#html);
    this.#json.clear();
    this.#json.add(beginsWith(serial));
    const head = this.#json.length;
    projectJson(project, this.#json);
    const same = () => holds(v1Json, this.#json.bytes.subarray(head), beginsWith(its).length);
    if (its === listed && guarded(v1Json, same)) {
      writeAtomic(index, this.#html.bytes);
      alias(folder, V1_HTML, HTML);
      this.#writePypi(project, its);
      return its;
    }
    replace(index, this.#html.bytes);
    alias(folder, V1_HTML, HTML);
    this.#writePypi(project, serial);
    replace(v1Json, this.#json.bytes);
    return serial;
  }

  /** There is a page of that package. */
  has(name: string): boolean {
    const folder = this.#path(simplePath(normalise(name)));
    return guarded(folder, () => SIBLINGS.some((sibling) => headOf(join(folder, sibling), 1) !== undefined));
  }

  /**
   * Takes a package's page away, which names nothing, and which the root doesn't name. Not if another writer has
   * put one there under a higher serial: false then.
   */
  remove(name: string, serial: number): boolean {
    const folder = this.#path(simplePath(normalise(name)));
    const head = guarded(folder, () => headOf(join(folder, V1_JSON), HEAD_BYTES));
    if ((serialOf(head) ?? -1) > serial) return false;
    removePypi(this.#root, normalise(name));
    removeFiles(folder, SIBLINGS);
    return true;
  }

  /**
   * Writes the root from its names in their order, as they come; only what is at hand of them is held. Whatever has
   * a serial up to this one is written by now. Where a root with a higher one stands by then, this one comes too late,
   * and is let go. Raises PIW_DISK_FULL, PIW_NOT_WRITABLE.
   */
  async writeRoot(
    pages: AsyncIterable<readonly (readonly [name: string, serial: number])[]>,
    serial: number,
  ): Promise<void> {
    const folder = this.#path(simplePath());
    const asHtml = new Growing(join(folder, HTML));
    let asJson: Growing | undefined;
    try {
      asJson = new Growing(join(folder, V1_JSON));
      asHtml.add(ROOT_HTML.begins);
      asJson.add(ROOT_JSON.begins(serial));
      let first = true;
      for await (const page of pages) {
        if (page.length === 0) continue;
        asHtml.add(ROOT_HTML.names(page));
        asJson.add(ROOT_JSON.names(page, serial, first));
        first = false;
      }
      asHtml.add(ROOT_HTML.ends);
      asJson.add(ROOT_JSON.ends);
      const v1Json = join(folder, V1_JSON);
      if ((guarded(v1Json, () => serialOf(headOf(v1Json, HEAD_BYTES))) ?? -1) > serial) return;
      asHtml.place();
      alias(folder, V1_HTML, HTML);
      asJson.place();
    } finally {
      asHtml.drop();
      asJson?.drop();
    }
  }

  #writePypi(project: SimpleProject, serial: number): void {
    this.#pypi.clear();
    pypiJson(project, serial, this.#publicUrl, this.#pypi);
    writePypi(this.#root, project.name, serial, this.#pypi.bytes);
  }

  #path(...parts: readonly string[]): string {
    return join(this.#root, ...parts);
  }
}
