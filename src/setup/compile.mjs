/**
 * The compiled code of a clone, in dist/. dist/.compiled records, for each part of the sources, a digest of
 * what was compiled last; a command compiles when a part that it needs has another digest.
 *
 * The record is deleted before the compiler starts and written when it exits. If it is missing, the compiler was
 * killed and dist/ may hold half a file, so everything is compiled from scratch.
 */
import { createHash } from 'crypto';
import fs from 'fs';
import { join } from 'path';
import { SetupError, runQuietly } from './process.mjs';

const COMPILE_TIMEOUT_MS = 5 * 60000;

/** The parts of the sources and the folders of each. */
const SOURCE_PARTS = { farm: ['src', 'actors'], bench: ['test/bench', 'test/helpers'], tests: ['test'] };

/** What can be compiled: the TypeScript project of each target, and the parts of the sources that it covers. */
const COMPILE_TARGETS = {
  farm: { project: 'tsconfig.build.json', parts: ['farm'] },
  bench: { project: 'tsconfig.bench.json', parts: ['farm', 'bench'] },
  all: { project: 'tsconfig.json', parts: ['farm', 'bench', 'tests'] },
};

function filesUnder(root, folder, suffix) {
  const files = [];
  const path = join(root, folder);
  if (!fs.existsSync(path)) return files;
  for (const entry of fs.readdirSync(path, { withFileTypes: true })) {
    const name = `${folder}/${entry.name}`;
    if (entry.isDirectory()) files.push(...filesUnder(root, name, suffix));
    else if (name.endsWith(suffix)) files.push(name);
  }
  return files.sort();
}

/**
 * Returns a digest of the names, sizes and modification times of a part's sources and of the settings that
 * decide how they are compiled.
 */
function sourceDigest(root, part) {
  const digest = createHash('sha256');
  const sources = SOURCE_PARTS[part].map((folder) => filesUnder(root, folder, '.ts'));
  const settings = Object.keys(COMPILE_TARGETS).map((target) => COMPILE_TARGETS[target].project);
  for (const name of [].concat(...sources, settings, 'package.json', 'src/setup/bundle.mjs')) {
    const { size, mtimeMs } = fs.statSync(join(root, name));
    digest.update(`${name} ${size} ${mtimeMs}\n`);
  }
  return digest.digest('hex');
}

/** Returns the digest of each part at its last compilation; null if there is no valid record. */
function readRecord(root) {
  try {
    return JSON.parse(fs.readFileSync(join(root, 'dist', '.compiled'), 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return null;
    throw error;
  }
}

function writeRecord(root, record) {
  const path = join(root, 'dist', '.compiled');
  fs.writeFileSync(`${path}.new`, JSON.stringify(record));
  fs.renameSync(`${path}.new`, path);
}

/** Returns whether dist/ is up to date with the sources for this target (`farm`, `bench` or `all`). */
export function isCompiled(root, target) {
  const record = readRecord(root);
  if (record === null || !fs.existsSync(join(root, 'dist/run/help.json'))) return false;
  return COMPILE_TARGETS[target].parts.every((part) => record[part] === sourceDigest(root, part));
}

/** Deletes compiled files whose source no longer exists. */
function removeStaleOutput(root) {
  for (const folder of ['src', 'actors', 'test']) {
    for (const name of filesUnder(join(root, 'dist'), folder, '.js')) {
      if (fs.existsSync(join(root, name.replace(/\.js$/, '.ts')))) continue;
      for (const suffix of ['', '.map']) fs.rmSync(join(root, 'dist', name + suffix), { force: true });
    }
  }
}

/** Bundles the program into dist/run. */
async function bundle(root) {
  const { code, output } = await runQuietly(process.execPath, [join(root, 'src/setup/bundle.mjs')], {
    cwd: root,
    timeoutMs: COMPILE_TIMEOUT_MS,
  });
  if (code !== 0) throw new SetupError(70, `${output.trim()}\nThe code of piw can't be bundled.`);
}

/** Writes the help texts of the commands, so that --help need not load them, and their manual pages. */
async function writeHelp(root) {
  const { code, output } = await runQuietly(
    process.execPath,
    [join(root, 'dist/src/commands/write-help.js')],
    {
      cwd: root,
      timeoutMs: COMPILE_TIMEOUT_MS,
    },
  );
  if (code !== 0) throw new SetupError(70, `${output.trim()}\nThe help of piw can't be written.`);
}

/** Compiles this target. The caller holds the clone's lock and has installed the packages. */
export async function compile(root, target) {
  process.stderr.write('Compiling…\n');
  const { project, parts } = COMPILE_TARGETS[target];
  const previousRecord = readRecord(root);
  const currentDigests = {};
  for (const part of parts) currentDigests[part] = sourceDigest(root, part);
  for (const name of ['.compiled', 'run/help.json']) fs.rmSync(join(root, 'dist', name), { force: true });
  if (!previousRecord) fs.rmSync(join(root, 'dist', '.tsbuildinfo'), { force: true });
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, project)];
  const { code, output, timedOut } = await runQuietly(process.execPath, args, {
    cwd: root,
    timeoutMs: COMPILE_TIMEOUT_MS,
  });
  if (timedOut) {
    const minutes = COMPILE_TIMEOUT_MS / 60000;
    throw new SetupError(3, `Compiling took more than ${minutes} minutes; is the machine overloaded?`);
  }
  if (code !== 0) {
    if (code <= 2) writeRecord(root, {});
    throw new SetupError(70, `${output.trim()}\nThe code of piw does not compile.`);
  }
  removeStaleOutput(root);
  await bundle(root);
  await writeHelp(root);
  writeRecord(root, { ...previousRecord, ...currentDigests });
}
