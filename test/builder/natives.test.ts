import { execFileSync } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import yazl from 'yazl';
import { neededLibraries } from '../../src/builder/elf.js';
import { inspectNativeCode } from '../../src/builder/natives.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { temporaryFolder } from './workshop.js';

const neededLibrariesOf = (bytes: Buffer) =>
  neededLibraries((offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)));

/** Writes a zip archive of these files and returns its path. */
async function writeZip(path: string, files: Readonly<Record<string, Buffer>>): Promise<string> {
  const archive = new yazl.ZipFile();
  for (const [name, contents] of Object.entries(files)) archive.addBuffer(contents, name);
  archive.end();
  await pipeline(archive.outputStream, createWriteStream(path));
  return path;
}

/** Returns a minimal shared library that needs these libraries, as a linker would lay it out. */
function sharedLibrary(needed: readonly string[], is64Bit: boolean, bigEndian: boolean): Buffer {
  const wordSize = is64Bit ? 8 : 4;
  const [elfHeaderSize, headerSize, entrySize] = is64Bit ? [64, 56, 16] : [52, 32, 8];
  const strings = Buffer.from(`\0${needed.join('\0')}\0`, 'latin1');
  const dynamicAt = elfHeaderSize + 2 * headerSize;
  const stringsAt = dynamicAt + (needed.length + 2) * entrySize;
  const base = 0x10000;
  const bytes = Buffer.alloc(stringsAt + strings.length);
  const writeNumber = (at: number, size: number, value: number): void => {
    const digits = Buffer.alloc(8);
    digits.writeBigUInt64BE(BigInt(value));
    const encoded = digits.subarray(8 - size);
    (bigEndian ? encoded : Buffer.from(encoded).reverse()).copy(bytes, at);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, is64Bit ? 2 : 1, bigEndian ? 2 : 1, 1]);
  writeNumber(is64Bit ? 32 : 28, wordSize, elfHeaderSize);
  writeNumber(is64Bit ? 54 : 42, 2, headerSize);
  writeNumber(is64Bit ? 56 : 44, 2, 2);
  const writeProgramHeader = (at: number, type: number, offset: number, size: number): void => {
    writeNumber(at, 4, type);
    writeNumber(at + wordSize, wordSize, offset);
    writeNumber(at + 2 * wordSize, wordSize, base + offset);
    writeNumber(at + (is64Bit ? 32 : 16), wordSize, size);
  };
  writeProgramHeader(elfHeaderSize, 1, 0, bytes.length);
  writeProgramHeader(elfHeaderSize + headerSize, 2, dynamicAt, stringsAt - dynamicAt);
  let at = dynamicAt;
  const writeDynamicEntry = (tag: number, value: number): void => {
    writeNumber(at, wordSize, tag);
    writeNumber(at + wordSize, wordSize, value);
    at += entrySize;
  };
  let nameOffset = 1;
  for (const name of needed) {
    writeDynamicEntry(1, nameOffset);
    nameOffset += name.length + 1;
  }
  writeDynamicEntry(5, base + stringsAt);
  strings.copy(bytes, stringsAt);
  return bytes;
}

t.test('the needed libraries are read for each word size and byte order of ELF', async (t) => {
  for (const is64Bit of [true, false]) {
    for (const bigEndian of [true, false])
      t.strictSame(await neededLibrariesOf(sharedLibrary(['libz.so.1', 'libc.so.6'], is64Bit, bigEndian)), [
        'libz.so.1',
        'libc.so.6',
      ]);
  }
  t.strictSame(await neededLibrariesOf(Buffer.from('#!/bin/sh\n')), []);
  t.strictSame(
    await neededLibrariesOf(sharedLibrary(['../../etc/passwd', '-rf', 'libgood.so'], true, false)),
    ['libgood.so'],
  );
});

t.test('a file with any one byte wrong does no harm', async (t) => {
  const valid = sharedLibrary(['libz.so.1'], true, false);
  for (let at = 4; at < valid.length; at += 1) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const broken = Buffer.from(valid);
      broken[at] = value;
      for (const name of await neededLibrariesOf(broken)) t.ok(name.length < 256);
    }
    for (const name of await neededLibrariesOf(valid.subarray(0, at))) t.ok(name.length < 256);
  }
});

t.test(
  'a wheel depends on the packages that own the libraries of its extension modules',
  { skip: skipUnlessInstalled('cc') },
  async (t) => {
    const folder = temporaryFolder(t);
    const source = join(folder, 'x.c');
    writeFileSync(
      source,
      'extern const char *zlibVersion(void); const char *f(void) { return zlibVersion(); }\n',
    );
    writeFileSync(
      join(folder, 'theirs.c'),
      'extern int own(void); extern int nobodys(void); int g(void) { return own() + nobodys(); }\n',
    );
    writeFileSync(join(folder, 'own.c'), 'int own(void) { return 1; }\n');
    writeFileSync(join(folder, 'nobodys.c'), 'int nobodys(void) { return 1; }\n');
    const cc = (...args: string[]) => execFileSync('cc', ['-shared', '-fPIC', ...args], { cwd: folder });
    cc('own.c', '-o', 'libown.so.1', '-Wl,-soname,libown.so.1');
    cc('nobodys.c', '-o', 'libnobodys.so.3', '-Wl,-soname,libnobodys.so.3');
    cc('x.c', '-o', 'x.so', '-l:libz.so.1');
    cc('theirs.c', '-o', 'theirs.so', './libown.so.1', './libnobodys.so.3');
    const readOutput = (name: string) => readFileSync(join(folder, name));
    const wheel = await writeZip(join(folder, 'x-1-py3-none-any.whl'), {
      'x/__init__.py': Buffer.from(''),
      'x/x.cpython-311.so': readOutput('x.so'),
      'x/theirs.so': readOutput('theirs.so'),
      'x.libs/libown.so.1': readOutput('libown.so.1'),
    });
    const manager = existsSync('/usr/bin/dpkg-query') ? { apt: ['zlib1g'] } : {};
    t.match((await inspectNativeCode(wheel, folder)).dependencies, { ...manager, '': ['libnobodys.so.3'] });
  },
);

t.test('a wheel without native code has no dependencies', async (t) => {
  const folder = temporaryFolder(t);
  const wheel = await writeZip(join(folder, 'x.whl'), {
    'x.py': Buffer.from(''),
    data: Buffer.from('\x7fEL'),
  });
  t.strictSame(Object.values((await inspectNativeCode(wheel, folder)).dependencies).flat(), []);
});
