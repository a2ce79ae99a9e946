import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, unlinkSync } from 'node:fs';
import { access, readdir, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PiwError, isDiskTrouble } from '../errors.js';
import type { CoreMetadata } from '../protocols/fields.js';
import { fileFromMessage, fileToMessage, type FileState } from '../states/file-state.js';
import type { ByteRange } from '../states/ranges.js';
import { SMALL, TransferState } from '../states/transfer-state.js';
import { Arriving, type Expected } from './arriving.js';
import { takeName, type Past, type TagPolicy } from './build-tag.js';
import { codeOf, diskError, flush, makeFolders, onDisk, putInPlace, writeBeside } from './disk.js';
import { claim, standingOf, take, type Standing } from './published.js';
import { hashFile, readWheel } from './wheel.js';

export type Verdict =
  | {
      readonly verb: 'VERIFIED';
      readonly filename: string;
      readonly metadata_sha256: string;
      readonly requires_python: string | null;
      readonly core_metadata: CoreMetadata;
      /** How it stands there: see published.ts. */
      readonly stamp: string;
    }
  | { readonly verb: 'AGAIN'; readonly reason: string }
  | { readonly verb: 'LATER'; readonly code: string; readonly reason: string }
  /** `standing` is of the file that has the name; null: that is not the reason, or it is gone again. */
  | { readonly verb: 'TAKEN'; readonly reason: string; readonly standing: Standing | null }
  | {
      readonly verb: 'REFUSED';
      readonly code: string;
      readonly reason: string;
      readonly standing: Standing | null;
    };

/** Whether a published file was removed, or stays because somebody has published or claimed it since. */
export type Removal = 'DONE' | 'KEPT';

const EXPECTED = '.json';
const PART = '.part';
const NOTES = '.ranges';
/** Stands while somebody takes a transfer over, and for how long at most, milliseconds. */
const TAKING = '.taking';
const TAKING_MS = 10_000;

/**
 * The wheels under the output path, and those on their way there. A file on its way is three files
 * in `.transfers`, a folder that no web server reads: what is expected of it, from whom and in whose
 * hands it is; its bytes so far; and which ranges of them have been written (one line each, after the
 * bytes). One process has it in its hands at a time, and is the only one that writes to it; any other
 * can take it over when that one is gone, and goes on where it stopped. A small file is in memory
 * until it is whole: making and removing several files for each is what a file system is slowest at
 * (ext4 looks at every inode that was freed within a minute before it gives out another), and it is
 * soon sent again. Only verify() makes a file visible, by a link, which fails where one of that name
 * is: a published file never changes. Another build of it gets a build tag, where it may.
 */
export class WheelStore {
  readonly #root: string;
  readonly #transfers: string;
  readonly #me: string;
  readonly #tags: TagPolicy;
  /** The small files that are expected. */
  readonly #small = new Map<string, Expected & { readonly since: number }>();

  /**
   * `me` names this process among those that use the same folder. `tags`: where a wheel that was built again may
   * have a build tag.
   */
  constructor(outputPath: string, me: string, tags: TagPolicy = { published: false, removed: false }) {
    this.#root = outputPath;
    this.#transfers = join(outputPath, '.transfers');
    this.#me = me;
    this.#tags = tags;
  }

  /** Makes the folders. Throws what diskError() gives, as do all methods here. */
  async setUp(): Promise<void> {
    await onDisk(this.#root, async () => {
      makeFolders(join(this.#root, 'simple'));
      makeFolders(this.#transfers, 0o700);
      await access(this.#transfers, constants.W_OK);
    });
  }

  /**
   * Notes what will come, into these hands. The same again changes nothing; another file under the same id
   * starts over. It isn't synced: a note that is lost with the machine is made anew when the sender repeats
   * itself.
   */
  async expect(expected: Expected, now = Date.now()): Promise<void> {
    const known = this.#expected(expected.transferId);
    if (known?.sender === expected.sender && sameFile(known.file, expected.file)) return;
    if (known) await this.forget(expected.transferId);
    if (expected.file.filesize > SMALL) {
      const path = this.#path(expected.transferId, EXPECTED);
      await onDisk(path, async () => {
        putInPlace(await writeBeside(path, this.#body(expected), false), path);
      });
      return;
    }
    this.#small.set(expected.transferId, { ...expected, since: now });
  }

  /** In whose hands a transfer is; undefined: nothing of that id is expected. */
  owner(transferId: string): string | undefined {
    return this.#expected(transferId)?.owner;
  }

  /**
   * A transfer that is in these hands; undefined when it is in another's. Raises PIW_UNKNOWN_TRANSFER
   * where nothing of that id is expected from that sender.
   */
  async arriving(transferId: string, sender: string): Promise<Arriving | undefined> {
    const expected = this.#expected(transferId);
    if (expected?.sender !== sender) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected from ${sender}`);
    }
    if (expected.owner !== this.#me) return undefined;
    const { filesize } = expected.file;
    if (filesize <= SMALL) return new Arriving(expected, new TransferState(filesize));
    return await onDisk(this.#root, () => {
      const state = new TransferState(filesize, this.#ranges(transferId));
      const part = openSync(this.#path(transferId, PART), constants.O_RDWR | constants.O_CREAT, 0o644);
      try {
        const notes = openSync(this.#path(transferId, NOTES), 'a', 0o644);
        return new Arriving(expected, state, { part, notes });
      } catch (error) {
        closeSync(part);
        throw error;
      }
    });
  }

  /** Takes a transfer out of the hands of one that is gone; of several who try at once, one does. */
  async takeOver(transferId: string, from: string): Promise<void> {
    const lock = this.#path(transferId, TAKING);
    await onDisk(lock, async () => {
      try {
        await writeFile(lock, '', { flag: 'wx' });
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
        // Whoever was killed at it left this behind; the sender asks again.
        if ((await age(lock, Date.now())) > TAKING_MS) await rm(lock, { force: true });
        return;
      }
      try {
        const expected = this.#expected(transferId);
        if (expected?.owner !== from) return;
        // At no moment is it known to nobody.
        const path = this.#path(transferId, EXPECTED);
        putInPlace(await writeBeside(path, this.#body(expected)), path);
      } finally {
        await rm(lock, { force: true });
      }
    });
  }

  /**
   * Holds what has arrived against what was expected, and publishes it under `simple/<package>/`:
   * the wheel, then its metadata. AGAIN: bytes are missing or wrong, and what has come is thrown away
   * if it was wrong. REFUSED: it isn't a wheel, or another file has this name. TAKEN: another has, and a build tag
   * is for whoever says that it was `rebuilt`. Where another has its name, everything that has come stays until
   * forget(): the name may become free. LATER: the disk is full or fails; everything that has come stays, and
   * the same call succeeds once the disk is well again. `seen` is what came into these hands; without it, or where it
   * can't tell the digest, the file is read again.
   */
  async verify(
    transferId: string,
    packageName: string,
    seen?: Arriving,
    rebuilt = false,
    past: Past = [],
  ): Promise<Verdict> {
    try {
      return await onDisk(this.#root, () => this.#verify(transferId, packageName, seen, rebuilt, past));
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      return { verb: 'LATER', code: error.code, reason: error.message };
    }
  }

  async #verify(
    transferId: string,
    packageName: string,
    seen: Arriving | undefined,
    rebuilt: boolean,
    past: Past,
  ): Promise<Verdict> {
    const expected = this.#expected(transferId);
    if (!expected) throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected`);
    const { file } = expected;
    const part = this.#path(transferId, PART);
    try {
      await seen?.settle();
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      await this.#startOver(transferId);
      return { verb: 'AGAIN', reason: `bytes of ${file.filename} were lost: ${error.message}` };
    }
    const state = seen?.whole || (seen && existsSync(part)) ? seen.state : this.#arrived(transferId, file);
    if (!state.done) {
      const missing = file.filesize - state.received;
      return { verb: 'AGAIN', reason: `${String(missing)} bytes of ${file.filename} are missing` };
    }
    if (file.filesize > 0 && (seen?.sha256 ?? (await digest(part))) !== file.filehash) {
      await this.#startOver(transferId);
      return {
        verb: 'AGAIN',
        reason: `what arrived of ${file.filename} has another SHA-256 than was announced`,
      };
    }
    try {
      if (file.filesize === 0) throw new PiwError('PIW_BAD_WHEEL', `${file.filename} is empty`);
      const wheel = await readWheel(seen?.whole ?? part, { filename: file.filename });
      const target = this.pathOf(packageName, file.filename);
      const { filename, stamp } = await onDisk(target, () =>
        this.#publish(
          seen?.whole ?? part,
          target,
          file,
          wheel.metadata,
          { ...this.#tags, published: rebuilt && this.#tags.published },
          past,
        ),
      );
      await this.forget(transferId);
      return {
        verb: 'VERIFIED',
        filename,
        metadata_sha256: wheel.metadataSha256,
        requires_python: wheel.requiresPython,
        core_metadata: wheel.coreMetadata,
        stamp,
      };
    } catch (error) {
      if (
        !(error instanceof PiwError) ||
        !['PIW_BAD_WHEEL', 'PIW_FILE_EXISTS', 'PIW_NAME_SPENT'].includes(error.code)
      )
        throw error;
      const { code, message } = error;
      if (code !== 'PIW_FILE_EXISTS') {
        await this.forget(transferId);
        return { verb: 'REFUSED', code, reason: message, standing: null };
      }
      const standing = (await this.standing(packageName, file.filename)) ?? null;
      if (this.#tags.published && !rebuilt) return { verb: 'TAKEN', reason: message, standing };
      return { verb: 'REFUSED', code, reason: message, standing };
    }
  }

  /** Where a published file stands; both names come from validated messages and hold no path. */
  pathOf(packageName: string, filename: string): string {
    if (!/^[a-z0-9][a-z0-9-]*$/.test(packageName) || /^\.|[/\\\0]/.test(filename)) {
      throw new PiwError('PIW_FILE_REFUSED', `${packageName}/${filename} is no name of a file here`);
    }
    return join(this.#root, 'simple', packageName, filename);
  }

  /**
   * Removes a published file and its metadata, if it still stands as `stamp` says: not if anybody has published or
   * claimed it since. One that isn't there is DONE.
   */
  async remove(packageName: string, filename: string, stamp: string): Promise<Removal> {
    const target = this.pathOf(packageName, filename);
    return (await onDisk(target, () => take(target, stamp))) ? 'DONE' : 'KEPT';
  }

  /** How a published file stands; undefined where there is none. */
  async standing(packageName: string, filename: string): Promise<Standing | undefined> {
    const target = this.pathOf(packageName, filename);
    return await onDisk(target, () => standingOf(target));
  }

  /** Claims a published file once more for a build that is not listed yet; undefined: it is gone. */
  async claim(packageName: string, filename: string): Promise<Standing | undefined> {
    const target = this.pathOf(packageName, filename);
    return await onDisk(target, () => claim(target));
  }

  /** Total and free bytes of the file system. */
  async space(): Promise<{ total: number; free: number }> {
    const { bsize, blocks, bavail } = await onDisk(this.#root, () => statfs(this.#root));
    return { total: bsize * blocks, free: bsize * bavail };
  }

  /** Something of that id is expected. */
  knows(transferId: string): boolean {
    return this.#expected(transferId) !== undefined;
  }

  /** Ends a transfer and removes what has arrived of it. */
  async forget(transferId: string): Promise<void> {
    if (this.#small.delete(transferId)) return;
    await this.#startOver(transferId);
    await rm(this.#path(transferId, EXPECTED), { force: true });
  }

  /** Removes transfers that nothing has been written to for `ms`; gives their senders and ids. */
  async sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    return await onDisk(this.#transfers, () => this.#sweep(ms, now));
  }

  async #sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    const swept: { transferId: string; sender: string }[] = [];
    for (const [transferId, { sender, since }] of this.#small) {
      if (now - since <= ms) continue;
      this.#small.delete(transferId);
      swept.push({ transferId, sender });
    }
    for (const name of await readdir(this.#transfers)) {
      const path = join(this.#transfers, name);
      if (!name.endsWith(EXPECTED)) {
        const orphan = !(await exists(path.replace(/\.[^.]+$/, EXPECTED)));
        if (orphan && (await age(path, now)) > ms) await rm(path, { force: true });
        continue;
      }
      const transferId = name.slice(0, -EXPECTED.length);
      const last = (await exists(this.#path(transferId, PART))) ? this.#path(transferId, PART) : path;
      if ((await age(last, now)) <= ms) continue;
      const expected = this.#expected(transferId);
      await this.forget(transferId);
      swept.push({ transferId, sender: expected?.sender ?? '' });
    }
    return swept;
  }

  /** Both files are on the disk before either is visible, and both names before this returns. Gives the wheel's. */
  async #publish(
    contents: string | Buffer,
    target: string,
    file: FileState,
    metadata: Buffer,
    tags: TagPolicy,
    past: Past,
  ): Promise<{ filename: string; stamp: string }> {
    const folder = dirname(target);
    const made = existsSync(folder) ? undefined : mkdirSync(folder, { recursive: true });
    const [aside, part] = await both(
      writeBeside(`${target}.metadata`, metadata),
      typeof contents === 'string' ? flush(contents).then(() => contents) : writeBeside(target, contents),
      (path) => {
        if (path !== contents) unlinkSync(path);
      },
    );
    let filename: string;
    try {
      // Its age counts from now.
      if (part === contents) await utimes(part, new Date(), new Date());
      filename = await takeName(part, folder, file, tags, past);
    } catch (error) {
      await rm(aside, { force: true });
      throw error;
    } finally {
      if (part !== contents) unlinkSync(part);
    }
    putInPlace(aside, join(folder, `${filename}.metadata`));
    await flush(folder);
    if (made !== undefined) await flush(dirname(folder));
    return { filename, stamp: (await standingOf(join(folder, filename)))?.stamp ?? '' };
  }

  /** What is noted of the bytes on the disk; nothing if they are gone. */
  #arrived(transferId: string, { filesize }: FileState): TransferState {
    const there = existsSync(this.#path(transferId, PART));
    return new TransferState(filesize, there ? this.#ranges(transferId) : []);
  }

  /** Nothing of it has arrived. */
  async #startOver(transferId: string): Promise<void> {
    for (const ending of [NOTES, PART]) {
      const path = this.#path(transferId, ending);
      if (existsSync(path)) await rm(path, { force: true });
    }
  }

  /** What is expected, in these hands. */
  #body({ sender, file }: Expected): Buffer {
    return Buffer.from(JSON.stringify([sender, fileToMessage(file), this.#me]));
  }

  #expected(transferId: string): (Expected & { readonly owner: string }) | undefined {
    const small = this.#small.get(transferId);
    if (small) return { ...small, owner: this.#me };
    const body = read(this.#path(transferId, EXPECTED));
    if (body === undefined) return undefined;
    try {
      const [sender, tuple, owner] = JSON.parse(body) as [string, ReturnType<typeof fileToMessage>, string];
      return { transferId, sender, file: fileFromMessage(tuple), owner };
    } catch {
      // It was cut off with the process or the machine that wrote it.
      return undefined;
    }
  }

  /** The last line may have been cut off with the process that wrote it. */
  #ranges(transferId: string): readonly ByteRange[] {
    const text = read(this.#path(transferId, NOTES)) ?? '';
    const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
    return lines
      .filter((line) => line !== '')
      .map((line): ByteRange => {
        const [offset = NaN, length = NaN] = line.split(' ').map(Number);
        return { start: offset, end: offset + length };
      });
  }

  #path(transferId: string, ending: string): string {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(transferId)) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', 'a transfer is named with letters, digits, - and _');
    }
    return join(this.#transfers, transferId + ending);
  }
}

function sameFile(a: FileState, b: FileState): boolean {
  return a.filename === b.filename && a.filehash === b.filehash && a.filesize === b.filesize;
}

const digest = async (path: string): Promise<string> => (await hashFile(path)).sha256;

/** A small file, or undefined where there is none. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw diskError(path, error);
  }
}

/** The results of both; if one fails, `undo` removes what the other has made. */
async function both(
  first: Promise<string>,
  second: Promise<string>,
  undo: (path: string) => void,
): Promise<readonly [string, string]> {
  const results = await Promise.allSettled([first, second]);
  const [a, b] = results;
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value];
  for (const one of results) if (one.status === 'fulfilled') undo(one.value);
  throw a.status === 'rejected' ? a.reason : b.status === 'rejected' ? b.reason : undefined;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Milliseconds since it was written to; 0 if another process has just removed it. */
async function age(path: string, now: number): Promise<number> {
  try {
    return now - (await stat(path)).mtimeMs;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
