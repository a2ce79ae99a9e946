/**
 * The package.json of the tarball that `npm pack` makes. The bundle in dist/run contains most packages, so whoever
 * installs the tarball needs neither them nor what compiles a clone. What the bundle imports comes inside the tarball,
 * in the versions of package-lock.json: the installation fetches nothing. PostgreSQL is fetched by a farm that needs it
 * (src/servers/postgres-package.ts); `npm install -g --omit=optional` would not leave it out.
 *
 *   node src/setup/published-manifest.mjs             writes it, before packing; keeps the clone's own
 *   node src/setup/published-manifest.mjs --restore   after packing, or after a killed npm pack
 */
import fs from 'fs';
import { dirname, join } from 'path';
import { fileURLToPath } from 'url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const manifest = join(root, 'package.json');
/** The clone's own, moved: its modification time decides whether the clone is compiled again. */
const saved = join(root, 'dist/.package.json');

/** Returns the manifest of the tarball, for that of the clone and the names of the packages that the bundle imports. */
function publishedManifest(whole, imported) {
  const manifest = { ...whole, dependencies: {}, bundleDependencies: imported };
  for (const name of imported) manifest.dependencies[name] = whole.dependencies[name];
  for (const key of ['scripts', 'devDependencies', 'optionalDependencies']) delete manifest[key];
  return manifest;
}

const readJson = (path) => JSON.parse(fs.readFileSync(path, 'utf8'));

/** Restores the clone's own, unless it has been restored by hand since npm pack was killed. */
function restore() {
  if (fs.existsSync(saved) && readJson(manifest).bundleDependencies) fs.renameSync(saved, manifest);
}

function write() {
  restore();
  const imported = readJson(join(root, 'dist/.external-packages.json'));
  const whole = readJson(manifest);
  fs.renameSync(manifest, saved);
  fs.writeFileSync(manifest, `${JSON.stringify(publishedManifest(whole, imported), null, 2)}\n`);
}

if (process.argv[2] === '--restore') restore();
else write();
