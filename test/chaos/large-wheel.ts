/**
 * Sends one large wheel from a slave to the index, and measures the peak resident memory of every process
 * involved.
 *
 *     node dist/test/chaos/large-wheel.js [MEGABYTES=300] [LIMIT_MB=150]
 *
 * Exits with 1 if the wheel isn't listed with its hash, or if a process of the farm exceeded the limit.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startWebServer } from '../../src/web/web-server.js';
import { tarGz } from '../../src/farm/sdist.js';
import { hashFile } from '../../src/wheels/wheel.js';

const [megabytes = 300, limitMb = 150] = process.argv.slice(2).map(Number);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const BACKEND = `
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = 'large-1.0.dist-info/'
    with zipfile.ZipFile(os.path.join(folder, 'large-1.0-py3-none-any.whl'), 'w', zipfile.ZIP_STORED) as z:
        z.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: large\\nVersion: 1.0\\n')
        z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        with z.open('large.bin', 'w', force_zip64=True) as f:
            for _ in range(${megabytes}):
                f.write(os.urandom(1000000))
        z.writestr(info + 'RECORD', '')
    return 'large-1.0-py3-none-any.whl'
`;
import { allProcesses } from '../helpers/proc.js';

const folder = await mkdtemp(join(tmpdir(), 'piw-large-'));
chmodSync(folder, 0o755);
const archive = tarGz([
  ['large-1.0/backend.py', Buffer.from(BACKEND)],
  [
    'large-1.0/pyproject.toml',
    Buffer.from('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'),
  ],
  ['large-1.0/PKG-INFO', Buffer.from('Metadata-Version: 2.1\nName: large\nVersion: 1.0\n')],
]);
const indexDir = join(folder, 'index/simple/large');
mkdirSync(indexDir, { recursive: true });
writeFileSync(join(indexDir, 'large-1.0.tar.gz'), archive);
const digest = createHash('sha256').update(archive).digest('hex');
writeFileSync(
  join(indexDir, 'index.html'),
  `<!DOCTYPE html><title>Links for large</title><a href="large-1.0.tar.gz#sha256=${digest}">large-1.0.tar.gz</a>`,
);
const server = await startWebServer({ root: join(folder, 'index'), host: '127.0.0.1', port: 0 });
const dataDir = join(folder, 'data');
const output = join(folder, 'www');
const url = `http://127.0.0.1:${server.port}/simple`;
const farm = spawn(
  process.execPath,
  [BIN, 'farm', '--once', '--port', '0', '--data-dir', dataDir, '-o', output, '--index-url', url, 'large'],
  {
    stdio: ['ignore', 'inherit', 'inherit'],
  },
);

/** The peak resident memory of each process in MB, by its name. */
const peaks = new Map<string, number>();
const memorySampler = setInterval(() => {
  for (const entry of allProcesses()) {
    const { pid, words, environment, task } = entry;
    if (!environment.includes(dataDir) && !words.some((word) => word.includes(dataDir)) && pid !== farm.pid)
      continue;
    const bin = words.findIndex((word) => word.endsWith('bin.js'));
    const label = task ?? (bin > 0 ? `piw ${words[bin + 1] ?? ''}` : words[0]?.split('/').at(-1)) ?? '';
    peaks.set(label, Math.max(peaks.get(label) ?? 0, entry.peakResidentBytes / 1024 ** 2));
  }
}, 50);
const code = await new Promise<number | null>((resolve) => farm.once('exit', resolve));
clearInterval(memorySampler);
await server.close();
const page = JSON.parse(readFileSync(join(output, 'simple/large/index.v1_json'), 'utf8')) as {
  files: { filename: string; size: number; hashes: { sha256: string } }[];
};
const [file] = page.files;
const published = await hashFile(join(output, 'simple/large', file?.filename ?? ''));
const intact = file?.hashes.sha256 === published.sha256 && file.size === published.size;
console.log(
  `${file?.filename ?? 'nothing'}: ${Math.round(published.size / 1e6)} MB, ${intact ? 'listed with its hash' : 'NOT AS LISTED'}`,
);
let overLimit = 0;
for (const [name, peak] of [...peaks].sort(([, a], [, b]) => b - a)) {
  // The memory of the build itself is the package's own affair.
  const isBuildProcess = name.startsWith('python') || name === '';
  if (peak > limitMb && !isBuildProcess) overLimit += 1;
  console.log(
    `${name.padEnd(24)}${peak.toFixed(0).padStart(5)} MB${peak > limitMb && !isBuildProcess ? '  OVER' : ''}`,
  );
}
await rm(folder, { recursive: true, force: true });
process.exitCode = code === 0 && intact && overLimit === 0 ? 0 : 1;
