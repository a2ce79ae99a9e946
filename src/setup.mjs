/**
 * What `npm start`, `npm test`, `npm run bench` and `npm run build` run: it brings a clone to the state
 * that the command needs (packages, compiled code), and then runs the command. It is plain JavaScript
 * without a dependency, because it runs before there is anything else; and it and src/setup/ use no syntax
 * that is newer than Node 12, so that an old Node reads far enough to be told that it is too old.
 *
 *   node src/setup.mjs start|test|bench|build|prepare [ARGUMENT…]
 *
 * When everything is there already, it only reads: a second run starts at once, also in a clone that this
 * user can't write to. What has to be done is done by one process at a time (lock.mjs); each stage says one
 * line on stderr, and leaves the clone either as it was or whole. stdout belongs to the command.
 *
 * Exit codes are those of src/errors.ts; once the command runs, its own.
 */
import { readFileSync } from 'fs';
import { dirname, join } from 'path';
import { fileURLToPath } from 'url';
import { compile, isCompiled } from './setup/compile.mjs';
import { withLock } from './setup/lock.mjs';
import { areInstalled, install } from './setup/packages.mjs';
import { Stop, checkInterrupted, runInstead } from './setup/process.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** For each command: the packages and the compiled code that it needs, and the program that it is. */
const COMMANDS = {
  start: { packages: 'run', code: 'farm', program: ['dist/src/bin.js', 'farm'] },
  test: { packages: 'all', code: 'all', program: ['dist/test/run.js'] },
  bench: { packages: 'run', code: 'bench', program: ['dist/test/bench/run.js'] },
  build: { packages: 'run', code: 'farm', program: null },
  prepare: { packages: 'all', code: 'all', program: null },
};

function checkNode() {
  const engines = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).engines;
  const needed = engines.node.replace(/^>=/, '').split('.').map(Number);
  const present = process.versions.node.split('.').map(Number);
  const differing = needed.findIndex((part, place) => part !== present[place]);
  if (differing >= 0 && present[differing] < needed[differing]) {
    throw new Stop(3, `piw needs Node ${needed.join('.')} or later; this is ${process.versions.node}.`);
  }
}

async function prepare({ packages, code }) {
  const ready = () => areInstalled(root, packages) && isCompiled(root, code);
  if (ready()) return;
  await withLock(root, async () => {
    if (!areInstalled(root, packages)) await install(root, packages);
    checkInterrupted();
    if (!isCompiled(root, code)) await compile(root, code);
  });
}

/** What an error of the file system means to the user, or nothing if it means nothing to them. */
function explain(error) {
  if (['EACCES', 'EPERM', 'EROFS'].includes(error.code)) {
    return new Stop(
      2,
      `This user can't write to ${error.path}. Change its owner, or use a clone of your own.`,
    );
  }
  if (error.code === 'ENOSPC') return new Stop(1, `The disk is full: make room under ${root}.`);
  return null;
}

async function main([name, ...rest]) {
  checkNode();
  const command = Object.prototype.hasOwnProperty.call(COMMANDS, name) ? COMMANDS[name] : null;
  if (!command) throw new Stop(2, `Usage: node src/setup.mjs ${Object.keys(COMMANDS).join('|')} [ARGUMENT…]`);
  await prepare(command);
  checkInterrupted();
  if (!command.program) return 0;
  const [program, ...first] = command.program;
  return runInstead(process.execPath, [join(root, program), ...first, ...rest]);
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    const stop = error instanceof Stop ? error : explain(error);
    process.stderr.write(`${stop ? stop.message : error.stack}\n`);
    process.exitCode = stop ? stop.exit : 70;
  },
);
