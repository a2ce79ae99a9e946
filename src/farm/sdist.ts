import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/**
 * Packs files into a `.tar.gz` (POSIX ustar); the same files always give the same bytes. Names must be Latin-1 and up
 * to 100 bytes long; times are in seconds since 1970, by default 0.
 */
export function tarGz(files: readonly (readonly [name: string, contents: Buffer, time?: number])[]): Buffer {
  const blocks = files.flatMap(([name, contents, time = 0]) => {
    const padding = Buffer.alloc((512 - (contents.length % 512)) % 512);
    return [header(name, contents.length, time), contents, padding];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

/** Returns the files directly in a folder, with `prefix` in place of the folder's path. */
export function folderFiles(path: string, prefix: string): (readonly [string, Buffer])[] {
  return readdirSync(path)
    .sort()
    .map((name) => [`${prefix}/${name}`, readFileSync(join(path, name))] as const);
}

function header(name: string, size: number, time: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(name, 0, 100, 'latin1');
  block.write(octal(0o644, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  block.write(octal(size, 12), 124, 'latin1');
  block.write(octal(time, 12), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write('0', 156, 'latin1');
  block.write('ustar\0', 257, 'latin1');
  block.write('00', 263, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
