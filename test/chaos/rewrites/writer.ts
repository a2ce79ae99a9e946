/**
 * Rewrites the pages of some projects as fast as it can, with the product's own code and in its order: a
 * wheel, its metadata, the page, the root; and the reverse to remove them. Run by ../rewrites.ts:
 *
 *     node writer.js OUTPUT-PATH PROJECTS HOW
 *
 * `HOW` is `right`, or a faulty mode, to check that the readers detect it: `torn` (pages are written in place
 * in two halves), `early` (a page lists a wheel before it exists), `late` (a wheel is removed before the page
 * changes), `back` (sometimes an older state overwrites a newer one).
 */
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises';
import { writeIfChanged } from '../../../src/files/atomic.js';
import { SIBLINGS } from '../../../src/site/layout.js';
import { compressPages } from '../../../src/site/compress-pages.js';
import { SimpleIndexWriter } from '../../../src/site/simple/index-writer.js';
import type { SimpleProject } from '../../../src/site/simple/render.js';
import { WheelStore } from '../../../src/wheels/store.js';
import { LAST_STATE, filenameOf, projectOf, stateOf } from './states.js';
import { metadataBytes, wheelBytes } from './wheels.js';

export const WRITE_MODES = ['right', 'torn', 'early', 'late', 'back'] as const;
export type WriteMode = (typeof WRITE_MODES)[number];

/** A project and its state; its name has a number of its own. */
interface ProjectSlot {
  readonly name: string;
  n: number;
  /** The serial of its page. */
  serial: number;
}

class PageWriter {
  readonly #output: string;
  readonly #writeMode: WriteMode;
  readonly #index: SimpleIndexWriter;
  readonly #store: WheelStore;
  readonly #slots: ProjectSlot[] = [];
  /** Where pages are written first that are put in place in another way. */
  readonly #stagingPath: string;
  #created = 0;
  #serial = 0;
  states = 0;

  constructor(output: string, writeMode: WriteMode) {
    this.#output = output;
    this.#writeMode = writeMode;
    this.#index = new SimpleIndexWriter(output);
    this.#store = new WheelStore(output, 'chaos');
    this.#stagingPath = join(dirname(output), 'aside');
  }

  async setUp(projects: number): Promise<void> {
    await this.#store.setUp();
    for (let i = 0; i < projects; i += 1) this.#slots.push(this.#createProject());
    await this.#writeRoot();
  }

  /** Writes the next state of a random project; after the last one it is replaced by a new project. */
  async step(): Promise<void> {
    const at = Math.floor(Math.random() * this.#slots.length);
    const slot = this.#slots[at];
    if (!slot) return;
    this.states += 1;
    if (slot.n === LAST_STATE) {
      this.#slots[at] = this.#createProject();
      await this.#writeRoot();
      const { versions } = stateOf(slot.n);
      if (this.#writeMode === 'late') await this.#remove(slot.name, versions);
      this.#index.remove(slot.name, this.#serial);
      await this.#remove(slot.name, versions);
      return;
    }
    const [before, after] = [stateOf(slot.n).versions, stateOf(slot.n + 1).versions];
    slot.n += 1;
    const removedVersions = before.filter((version) => !after.includes(version));
    const addedVersions = after.filter((version) => !before.includes(version));
    if (this.#writeMode === 'late') await this.#remove(slot.name, removedVersions);
    if (this.#writeMode !== 'early') this.#publish(slot.name, addedVersions);
    slot.serial = this.#write(projectOf(slot.name, slot.n));
    if (this.#writeMode === 'early') {
      await sleep(1);
      this.#publish(slot.name, addedVersions);
    }
    await this.#remove(slot.name, removedVersions);
    if (this.#writeMode === 'back' && slot.n % 6 === 1)
      slot.serial = this.#write(projectOf(slot.name, slot.n - 1));
    // Sometimes compressed, as by a slow pass.
    if (Math.random() < 0.3) await compressPages(this.#output, slot.name);
  }

  #createProject(): ProjectSlot {
    this.#created += 1;
    const slot = { name: `chaos${this.#created}`, n: 0, serial: 0 };
    if (this.#writeMode !== 'early') this.#publish(slot.name, stateOf(0).versions);
    slot.serial = this.#write(projectOf(slot.name, 0));
    if (this.#writeMode === 'early') this.#publish(slot.name, stateOf(0).versions);
    return slot;
  }

  #publish(name: string, versions: readonly string[]): void {
    for (const version of versions) {
      const path = join(this.#output, 'simple', name, filenameOf(name, version));
      writeIfChanged(path, wheelBytes(name, version));
      writeIfChanged(`${path}.metadata`, metadataBytes(name, version));
    }
  }

  async #remove(name: string, versions: readonly string[]): Promise<void> {
    for (const version of versions) {
      const filename = filenameOf(name, version);
      const published = this.#store.fileStamp(name, filename);
      if (published) await this.#store.remove(name, filename, published.stamp);
    }
  }

  async #writeRoot(): Promise<void> {
    const listed = this.#slots.map(({ name, serial }) => [name, serial] as const);
    listed.sort(([a], [b]) => (a < b ? -1 : 1));
    const pages = async function* () {
      yield await Promise.resolve(listed);
    };
    await this.#index.writeRoot(pages(), this.#serial);
    await compressPages(this.#output, null);
  }

  /** Writes a project's page, and returns its serial. */
  #write(project: SimpleProject): number {
    this.#serial += 1;
    if (this.#writeMode !== 'torn') return this.#index.write(project, this.#serial);
    new SimpleIndexWriter(this.#stagingPath).write(project, this.#serial);
    const folder = join('simple', project.name);
    mkdirSync(join(this.#output, folder), { recursive: true });
    for (const sibling of SIBLINGS) {
      const bytes = readFileSync(join(this.#stagingPath, folder, sibling));
      const file = openSync(join(this.#output, folder, sibling), 'w');
      const half = Math.floor(bytes.length / 2);
      writeSync(file, bytes.subarray(0, half));
      writeSync(file, bytes.subarray(half));
      closeSync(file);
    }
    return this.#serial;
  }
}

const [, , output = '', projects = '', way = ''] = process.argv;
const writer = new PageWriter(output, WRITE_MODES.find((mode) => mode === way) ?? 'right');
await writer.setUp(Number(projects));
process.send?.({ ready: true });
let reportedAt = performance.now();
while (process.connected) {
  for (let i = 0; i < 20; i += 1) await writer.step();
  if (performance.now() - reportedAt > 200) {
    reportedAt = performance.now();
    process.send?.({ states: writer.states });
  }
  await breathe();
}
