import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { normalise } from '../wheels/names.js';
import {
  ensureSymlink,
  withDiskErrors,
  readHead,
  hasContent,
  removeFiles,
  removeStaleTemporaries,
  replaceFile,
  writeIfChanged,
} from './atomic.js';
import { AtomicFileWriter } from './growing.js';
import { FILES_LINK, SIBLINGS, simplePath } from './layout.js';
import { PageBuffer } from './page-buffer.js';
import { removePypi, writePypi } from './pypi-files.js';
import { pypiJson } from './pypi-json.js';
import { HEAD_BYTES } from './serial.js';
import {
  ROOT_HTML,
  ROOT_JSON,
  simpleJsonHead,
  simpleHtml,
  simpleJson,
  simpleSerialOf,
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
export class SimpleIndexWriter {
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
    withDiskErrors(folder, () => mkdirSync(folder, { recursive: true }));
    ensureSymlink(this.#root, FILES_LINK, simplePath());
    removeStaleTemporaries(folder);
  }

  /**
   * Writes a package's page, whose files are in their places by now, under this serial; one that says the same already
   * keeps the one it has, if the root has it under that (`listed`). Gives the serial of the page as it
   * stands there then, which is higher where another writer was faster. Raises PIW_DISK_FULL, PIW_NOT_WRITABLE.
   */
  write(project: SimpleProject, serial: number, rootSerial: number | null = null): number {
    const folder = this.#path(simplePath(project.name));
    const index = join(folder, HTML);
    const v1Json = join(folder, V1_JSON);
    const currentHead = withDiskErrors(v1Json, () => readHead(v1Json, HEAD_BYTES));
    const currentSerial = simpleSerialOf(currentHead) ?? -1;
    if (currentSerial > serial) return currentSerial;
    this.#html.clear();
    simpleHtml(project, this.#html);
    this.#json.clear();
    this.#json.add(simpleJsonHead(serial));
    const head = this.#json.length;
    simpleJson(project, this.#json);
    const sameContent = () =>
      hasContent(v1Json, this.#json.bytes.subarray(head), simpleJsonHead(currentSerial).length);
    if (currentSerial === rootSerial && withDiskErrors(v1Json, sameContent)) {
      writeIfChanged(index, this.#html.bytes);
      ensureSymlink(folder, V1_HTML, HTML);
      this.#writePypi(project, currentSerial);
      return currentSerial;
    }
    replaceFile(index, this.#html.bytes);
    ensureSymlink(folder, V1_HTML, HTML);
    this.#writePypi(project, serial);
    replaceFile(v1Json, this.#json.bytes);
    return serial;
  }

  /** There is a page of that package. */
  has(name: string): boolean {
    const folder = this.#path(simplePath(normalise(name)));
    return withDiskErrors(folder, () =>
      SIBLINGS.some((sibling) => readHead(join(folder, sibling), 1) !== undefined),
    );
  }

  /**
   * Takes a package's page away, which names nothing, and which the root doesn't name. Not if another writer has
   * put one there under a higher serial: false then.
   */
  remove(name: string, serial: number): boolean {
    const folder = this.#path(simplePath(normalise(name)));
    const head = withDiskErrors(folder, () => readHead(join(folder, V1_JSON), HEAD_BYTES));
    if ((simpleSerialOf(head) ?? -1) > serial) return false;
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
    const htmlFile = new AtomicFileWriter(join(folder, HTML));
    let jsonFile: AtomicFileWriter | undefined;
    try {
      jsonFile = new AtomicFileWriter(join(folder, V1_JSON));
      htmlFile.add(ROOT_HTML.head);
      jsonFile.add(ROOT_JSON.head(serial));
      let first = true;
      for await (const page of pages) {
        if (page.length === 0) continue;
        htmlFile.add(ROOT_HTML.entries(page));
        jsonFile.add(ROOT_JSON.entries(page, serial, first));
        first = false;
      }
      htmlFile.add(ROOT_HTML.foot);
      jsonFile.add(ROOT_JSON.foot);
      const v1Json = join(folder, V1_JSON);
      if ((withDiskErrors(v1Json, () => simpleSerialOf(readHead(v1Json, HEAD_BYTES))) ?? -1) > serial) return;
      htmlFile.commit();
      ensureSymlink(folder, V1_HTML, HTML);
      jsonFile.commit();
    } finally {
      htmlFile.close();
      jsonFile?.close();
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
