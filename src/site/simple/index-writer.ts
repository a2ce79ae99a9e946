import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { normalise } from '../../wheels/names.js';
import {
  ensureSymlink,
  readHead,
  hasContent,
  removeFiles,
  removeStaleTemporaries,
  replaceFile,
  writeIfChanged,
} from '../../files/atomic.js';
import { AtomicFileWriter } from '../../files/atomic-writer.js';
import { withDiskErrors } from '../../files/disk.js';
import { FILES_LINK, SIBLINGS, simplePath } from '../layout.js';
import { PageBuffer } from '../../files/page-buffer.js';
import { fileTexts, type FileTexts } from './file-texts.js';
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
} from './render.js';

const [HTML, V1_HTML, V1_JSON] = SIBLINGS;

/**
 * Writes the simple index, which pip, uv and Poetry install from, and PyPI's JSON API, which bandersnatch mirrors from,
 * under the output path: everything except the wheels.
 *
 * The two HTML forms of a page are one file: index.v1_html is a link to index.html. A page's JSON contains its serial
 * and is written after its HTML and PyPI's JSON, so its serial holds for all of them. A writer whose serial is lower
 * than the page's is too late and writes nothing.
 */
export class SimpleIndexWriter {
  readonly #root: string;
  readonly #publicUrl: string | null;
  readonly #html = new PageBuffer();
  readonly #json = new PageBuffer();
  readonly #pypi = new PageBuffer();

  /** `publicUrl`: the URL at which mirrors reach the site; null if unknown. */
  constructor(outputPath: string, publicUrl: string | null = null) {
    this.#root = outputPath;
    this.#publicUrl = publicUrl?.replace(/\/*$/, '/') ?? null;
  }

  /** Creates the folder and removes temporary files that a killed process left in it. Throws PIW_NOT_WRITABLE. */
  setUp(): void {
    const folder = this.#path(simplePath());
    withDiskErrors(folder, () => mkdirSync(folder, { recursive: true }));
    ensureSymlink(this.#root, FILES_LINK, simplePath());
    removeStaleTemporaries(folder);
  }

  /**
   * Writes a package's page under `serial`; the files that it lists have to be in place already. A page with the same
   * content keeps its serial if that is also its serial in the root (`rootSerial`). Returns the serial of the page on
   * the disk, which is higher than `serial` if another writer was faster. Throws PIW_DISK_FULL or PIW_NOT_WRITABLE.
   */
  write(project: SimpleProject, serial: number, rootSerial: number | null = null): number {
    const folder = this.#path(simplePath(project.name));
    const index = join(folder, HTML);
    const v1Json = join(folder, V1_JSON);
    const currentHead = readHead(v1Json, HEAD_BYTES);
    const currentSerial = simpleSerialOf(currentHead) ?? -1;
    if (currentSerial > serial) return currentSerial;
    const files = project.files.map(fileTexts);
    this.#html.clear();
    simpleHtml(project, files, this.#html);
    this.#json.clear();
    this.#json.add(simpleJsonHead(serial));
    const head = this.#json.length;
    simpleJson(project, files, this.#json);
    const sameContent = () =>
      hasContent(v1Json, this.#json.bytes.subarray(head), simpleJsonHead(currentSerial).length);
    if (currentSerial === rootSerial && sameContent()) {
      writeIfChanged(index, this.#html.bytes);
      ensureSymlink(folder, V1_HTML, HTML);
      this.#writePypi(project, files, currentSerial);
      return currentSerial;
    }
    replaceFile(index, this.#html.bytes);
    ensureSymlink(folder, V1_HTML, HTML);
    this.#writePypi(project, files, serial);
    replaceFile(v1Json, this.#json.bytes);
    return serial;
  }

  /** Returns true if the package has a page. */
  has(name: string): boolean {
    const folder = this.#path(simplePath(normalise(name)));
    return SIBLINGS.some((sibling) => readHead(join(folder, sibling), 1) !== undefined);
  }

  /**
   * Removes the page of a package that has no files and is not in the root. Returns false, and removes nothing, if
   * another writer has written the page under a higher serial.
   */
  remove(name: string, serial: number): boolean {
    const folder = this.#path(simplePath(normalise(name)));
    const head = readHead(join(folder, V1_JSON), HEAD_BYTES);
    if ((simpleSerialOf(head) ?? -1) > serial) return false;
    removePypi(this.#root, normalise(name));
    removeFiles(folder, SIBLINGS);
    return true;
  }

  /**
   * Writes the root from ordered pages of names, holding one page in memory at a time. All pages with a serial up to
   * `serial` have to be written already. Drops the result if the root on the disk has a higher serial by the time it is
   * complete. Throws PIW_DISK_FULL or PIW_NOT_WRITABLE.
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
      if ((simpleSerialOf(readHead(v1Json, HEAD_BYTES)) ?? -1) > serial) return;
      htmlFile.commit();
      ensureSymlink(folder, V1_HTML, HTML);
      jsonFile.commit();
    } finally {
      htmlFile.close();
      jsonFile?.close();
    }
  }

  #writePypi(project: SimpleProject, files: readonly FileTexts[], serial: number): void {
    this.#pypi.clear();
    pypiJson(project, files, serial, this.#publicUrl, this.#pypi);
    writePypi(this.#root, project.name, serial, this.#pypi.bytes);
  }

  #path(...parts: readonly string[]): string {
    return join(this.#root, ...parts);
  }
}
