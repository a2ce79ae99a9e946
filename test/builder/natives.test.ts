import { execFileSync } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import yazl from 'yazl';
import { neededLibraries } from '../../src/builder/elf.js';
import { nativeParts } from '../../src/builder/natives.js';
import { lacking } from '../helpers/missing.js';
import { temporary } from './workshop.js';

const neededIn = (bytes: Buffer) =>
  neededLibraries((offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)));

/** A zip archive of these files. */
async function zip(path: string, files: Readonly<Record<string, Buffer>>): Promise<string> {
  const archive = new yazl.ZipFile();
  for (const [name, contents] of Object.entries(files)) archive.addBuffer(contents, name);
  archive.end();
  await pipeline(archive.outputStream, createWriteStream(path));
  return path;
}

/** The least of a shared library that says what it needs, as a linker would lay it out. */
function library(needed: readonly string[], wide: boolean, big: boolean): Buffer {
  const word = wide ? 8 : 4;
  const [head, header, entry] = wide ? [64, 56, 16] : [52, 32, 8];
  const strings = Buffer.from(`\0${needed.join('\0')}\0`, 'latin1');
  const dynamicAt = head + 2 * header;
  const stringsAt = dynamicAt + (needed.length + 2) * entry;
  const base = 0x10000;
  const bytes = Buffer.alloc(stringsAt + strings.length);
  const put = (at: number, size: number, value: number): void => {
    const digits = Buffer.alloc(8);
    digits.writeBigUInt64BE(BigInt(value));
    const its = digits.subarray(8 - size);
    (big ? its : Buffer.from(its).reverse()).copy(bytes, at);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, big ? 2 : 1, 1]);
  put(wide ? 32 : 28, word, head);
  put(wide ? 54 : 42, 2, header);
  put(wide ? 56 : 44, 2, 2);
  const segment = (at: number, type: number, offset: number, size: number): void => {
    put(at, 4, type);
    put(at + word, word, offset);
    put(at + 2 * word, word, base + offset);
    put(at + (wide ? 32 : 16), word, size);
  };
  segment(head, 1, 0, bytes.length);
  segment(head + header, 2, dynamicAt, stringsAt - dynamicAt);
  let at = dynamicAt;
  const dynamic = (tag: number, value: number): void => {
    put(at, word, tag);
    put(at + word, word, value);
    at += entry;
  };
  let name = 1;
  for (const one of needed) {
    dynamic(1, name);
    name += one.length + 1;
  }
  dynamic(5, base + stringsAt);
  strings.copy(bytes, stringsAt);
  return bytes;
}

t.test('the libraries that a file needs are read in each form that ELF has', async (t) => {
  for (const wide of [true, false]) {
    for (const big of [true, false])
      t.strictSame(await neededIn(library(['libz.so.1', 'libc.so.6'], wide, big)), [
        'libz.so.1',
        'libc.so.6',
      ]);
  }
  t.strictSame(await neededIn(Buffer.from('#!/bin/sh\n')), []);
  t.strictSame(await neededIn(library(['../../etc/passwd', '-rf', 'libgood.so'], true, false)), [
    'libgood.so',
  ]);
});

t.test('a file that lies in any byte does no harm', async (t) => {
  const sound = library(['libz.so.1'], true, false);
  for (let at = 4; at < sound.length; at += 1) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const broken = Buffer.from(sound);
      broken[at] = value;
      for (const name of await neededIn(broken)) t.ok(name.length < 256);
    }
    for (const name of await neededIn(sound.subarray(0, at))) t.ok(name.length < 256);
  }
});

t.test(
  'an extension module of a wheel needs the packages that have its libraries',
  { skip: lacking('cc') },
  async (t) => {
    const folder = temporary(t);
    const source = join(folder, 'x.c');
    writeFileSync(
      source,
      'extern const char *zlibVersion(void); const char *f(void) { return zlibVersion(); }\n',
    );
    const theirs = join(folder, 'theirs.c');
    writeFileSync(
      theirs,
      'extern int own(void); extern int nobodys(void); int g(void) { return own() + nobodys(); }\n',
    );
    writeFileSync(join(folder, 'own.c'), 'int own(void) { return 1; }\n');
    writeFileSync(join(folder, 'nobodys.c'), 'int nobodys(void) { return 1; }\n');
    const cc = (...args: string[]) => execFileSync('cc', ['-shared', '-fPIC', ...args], { cwd: folder });
    cc('own.c', '-o', 'libown.so.1', '-Wl,-soname,libown.so.1');
    cc('nobodys.c', '-o', 'libnobodys.so.3', '-Wl,-soname,libnobodys.so.3');
    cc('x.c', '-o', 'x.so', '-l:libz.so.1');
    cc('theirs.c', '-o', 'theirs.so', './libown.so.1', './libnobodys.so.3');
    const of = (name: string) => readFileSync(join(folder, name));
    const wheel = await zip(join(folder, 'x-1-py3-none-any.whl'), {
      'x/__init__.py': Buffer.from(''),
      'x/x.cpython-311.so': of('x.so'),
      'x/theirs.so': of('theirs.so'),
      'x.libs/libown.so.1': of('libown.so.1'),
    });
    const manager = existsSync('/usr/bin/dpkg-query') ? { apt: ['zlib1g'] } : {};
    t.match((await nativeParts(wheel, folder)).dependencies, { ...manager, '': ['libnobodys.so.3'] });
  },
);

t.test('a wheel without native code needs nothing', async (t) => {
  const folder = temporary(t);
  const wheel = await zip(join(folder, 'x.whl'), { 'x.py': Buffer.from(''), data: Buffer.from('\x7fEL') });
  t.strictSame(Object.values((await nativeParts(wheel, folder)).dependencies).flat(), []);
});
