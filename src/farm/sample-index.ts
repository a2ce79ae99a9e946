import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { folderFiles, tarGz } from './sdist.js';
import { ROOT } from '../root.js';

const SAMPLES = `${ROOT}config/samples/`;

/**
 * Packs the samples that ship with piw and writes a simple index of them below `root`, for a farm that can't reach an
 * index. Returns their names: a pure package, one with a C extension, and one whose wheel has a build tag. Building
 * them needs no network.
 */
export function writeSampleIndex(root: string): readonly string[] {
  const backend = readFileSync(join(SAMPLES, 'backend.py'));
  const names = readdirSync(SAMPLES, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
  for (const name of names) {
    const stem = `${name.replaceAll('-', '_')}-1.0`;
    const archive = tarGz([
      ...folderFiles(join(SAMPLES, name), stem),
      [`${stem}/backend.py`, backend],
      [`${stem}/PKG-INFO`, Buffer.from(`Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n`)],
    ]);
    const sha256 = createHash('sha256').update(archive).digest('hex');
    const folder = join(root, 'simple', name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${stem}.tar.gz`), archive);
    const anchor = `<a href="${stem}.tar.gz#sha256=${sha256}" data-requires-python="&gt;=3.9" data-upload-time="2026-01-01T00:00:00Z">${stem}.tar.gz</a>`;
    writeFileSync(
      join(folder, 'index.html'),
      `<!DOCTYPE html><html><head><title>Links for ${name}</title></head><body>${anchor}</body></html>\n`,
    );
  }
  return names;
}
