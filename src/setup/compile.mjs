/**
 * The compiled code of a clone, in dist/. dist/.compiled records, for each part of the sources, which state
 * of it was compiled last; a command compiles when a part that it needs is in another state.
 *
 * The record is taken away before the compiler starts and written when it has ended. Where it is missing,
 * the compiler was killed and dist/ may hold half a file, so that everything is compiled afresh.
 */
import { createHash } from 'crypto';
import fs from 'fs';
import { join } from 'path';
import { Stop, runQuietly } from './process.mjs';

const LIMIT_MS = 5 * 60000;

/** The parts of the sources, and the folders of each. */
const PARTS = { farm: ['src', 'actors'], bench: ['test/bench', 'test/helpers'], tests: ['test'] };

/** What can be asked for: the compiler's settings for it, and the parts that they compile. */
const CODE = {
  farm: { project: 'tsconfig.build.json', parts: ['farm'] },
  bench: { project: 'tsconfig.bench.json', parts: ['farm', 'bench'] },
  all: { project: 'tsconfig.json', parts: ['farm', 'bench', 'tests'] },
};

function filesUnder(root, folder, suffix) {
  const found = [];
  const path = join(root, folder);
  if (!fs.existsSync(path)) return found;
  for (const entry of fs.readdirSync(path, { withFileTypes: true })) {
    const name = `${folder}/${entry.name}`;
    if (entry.isDirectory()) found.push(...filesUnder(root, name, suffix));
    else if (name.endsWith(suffix)) found.push(name);
  }
  return found.sort();
}

/** A digest of names, sizes and times of a part's sources, and of what else decides how they are compiled. */
function stateOf(root, part) {
  const digest = createHash('sha256');
  const sources = PARTS[part].map((folder) => filesUnder(root, folder, '.ts'));
  const settings = Object.keys(CODE).map((code) => CODE[code].project);
  for (const name of [].concat(...sources, settings, 'package.json')) {
    const { size, mtimeMs } = fs.statSync(join(root, name));
    digest.update(`${name} ${size} ${mtimeMs}\n`);
  }
  return digest.digest('hex');
}

/** The state in which each part was compiled last; null where nothing is known. */
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

/** Whether dist/ holds this code (`farm`, `bench` or `all`) as the sources are now. */
export function isCompiled(root, code) {
  const record = readRecord(root);
  return record !== null && CODE[code].parts.every((part) => record[part] === stateOf(root, part));
}

/** Takes away what was compiled from sources that are there no more. */
function prune(root) {
  for (const folder of ['src', 'actors', 'test']) {
    for (const name of filesUnder(join(root, 'dist'), folder, '.js')) {
      if (fs.existsSync(join(root, name.replace(/\.js$/, '.ts')))) continue;
      for (const suffix of ['', '.map']) fs.rmSync(join(root, 'dist', name + suffix), { force: true });
    }
  }
}

/** Compiles this code. The caller holds the clone's lock, and the packages are installed. */
export async function compile(root, code) {
  process.stderr.write('Compiling…\n');
  const { project, parts } = CODE[code];
  const before = readRecord(root);
  const now = {};
  for (const part of parts) now[part] = stateOf(root, part);
  fs.rmSync(join(root, 'dist', '.compiled'), { force: true });
  if (!before) fs.rmSync(join(root, 'dist', '.tsbuildinfo'), { force: true });
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, project)];
  const {
    code: exit,
    output,
    timedOut,
  } = await runQuietly(process.execPath, args, { cwd: root, limit: LIMIT_MS });
  if (timedOut)
    throw new Stop(3, `Compiling took more than ${LIMIT_MS / 60000} minutes; is the machine overloaded?`);
  if (exit !== 0) {
    if (exit <= 2) writeRecord(root, {});
    throw new Stop(70, `${output.trim()}\nThe code doesn't compile.`);
  }
  prune(root);
  const bin = join(root, 'dist/src/bin.js');
  if (fs.existsSync(bin)) fs.chmodSync(bin, 0o755);
  writeRecord(root, { ...before, ...now });
}
