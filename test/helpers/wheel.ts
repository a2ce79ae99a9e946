import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { join } from 'node:path';
import { ZipFile } from 'yazl';
import type { FileState } from '../../src/model/file-state.js';
import { describeWheel } from '../../src/wheels/wheel.js';

export interface WheelParts {
  readonly name?: string;
  readonly version?: string;
  readonly tag?: string;
  readonly build?: string;
  /** Additional members by name. */
  readonly files?: Readonly<Record<string, Buffer>>;
  /** The contents of METADATA and WHEEL, in place of valid ones. */
  readonly metadata?: string;
  readonly wheel?: string;
}

/** Writes a wheel into `folder`, valid unless a part is overridden; returns its path. */
export async function makeWheel(folder: string, parts: WheelParts = {}): Promise<string> {
  const { name = 'demo', version = '1.0', tag = 'py3-none-any', build, files = {} } = parts;
  const distInfo = `${name}-${version}.dist-info`;
  const zip = new ZipFile();
  for (const [entry, contents] of Object.entries(files))
    zip.addBuffer(contents, entry, { mtime: new Date(0) });
  const metadata =
    parts.metadata ?? `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\nRequires-Python: >=3.8\n`;
  zip.addBuffer(Buffer.from(metadata), `${distInfo}/METADATA`, { mtime: new Date(0) });
  const wheel = parts.wheel ?? `Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: ${tag}\n`;
  zip.addBuffer(Buffer.from(wheel), `${distInfo}/WHEEL`, { mtime: new Date(0) });
  zip.end();
  const path = join(folder, `${name}-${version}${build === undefined ? '' : `-${build}`}-${tag}.whl`);
  await pipeline(zip.outputStream, createWriteStream(path));
  return path;
}

/** Returns the description of a wheel that a slave would send. */
export const fileStateOf = (path: string): Promise<FileState> => describeWheel(path);

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
