/**
 * The script behind `npm start`, `npm test`, `npm run bench`, `npm run build` and `npm run docs`: it installs the packages and
 * compiles the code that a command needs, and then runs the command. It is plain JavaScript without
 * dependencies, because it runs before anything is installed. It and src/setup/ use no syntax newer than
 * Node 12, so that an old Node can parse them and report that it is too old.
 *
 *   node src/setup.mjs start|test|bench|build|docs|prepare [ARGUMENT…]
 *
 * When everything is already up to date, it only reads: a second run starts at once, even in a clone that this
 * user cannot write to. One process at a time does the work (lock.mjs); each stage prints one line on stderr and
 * either completes or leaves the clone unchanged. stdout belongs to the command.
 *
 * Exit codes are those of src/errors.ts; once the command runs, its own.
 */
import { readFileSync } from 'fs';
import { dirname, join } from 'path';
import { fileURLToPath } from 'url';
import { compile, isCompiled } from './setup/compile.mjs';
import { withLock } from './setup/lock.mjs';
import { areInstalled, install } from './setup/packages.mjs';
import { SetupError, checkInterrupted, runCommand } from './setup/process.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** For each command: the packages and the compiled code that it needs, and the program that it runs. */
const COMMANDS = {
  start: { packages: 'run', code: 'farm', program: ['dist/run/bin.js', 'farm'] },
  test: { packages: 'all', code: 'all', program: ['dist/test/run.js'] },
  bench: { packages: 'run', code: 'bench', program: ['dist/test/bench/run.js'] },
  build: { packages: 'run', code: 'farm', program: null },
  docs: { packages: 'all', code: 'all', program: ['dist/test/docs/write.js'] },
  prepare: { packages: 'all', code: 'all', program: null },
};

function checkNode() {
  const engines = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).engines;
  const required = engines.node.replace(/^>=/, '').split('.').map(Number);
  const current = process.versions.node.split('.').map(Number);
  const differing = required.findIndex((part, i) => part !== current[i]);
  if (differing >= 0 && current[differing] < required[differing]) {
    throw new SetupError(
      3,
      `piw needs Node ${required.join('.')} or later, but this is Node ${process.versions.node}.`,
    );
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

/** Returns an error for the user if they can fix this file system error, else null. */
function explain(error) {
  if (['EACCES', 'EPERM', 'EROFS'].includes(error.code)) {
    return new SetupError(
      2,
      `You cannot write to ${error.path}. Change its owner, or use a clone of your own.`,
    );
  }
  if (error.code === 'ENOSPC') return new SetupError(1, `The disk is full. Free some space under ${root}.`);
  return null;
}

async function main([name, ...rest]) {
  checkNode();
  const command = Object.prototype.hasOwnProperty.call(COMMANDS, name) ? COMMANDS[name] : null;
  if (!command)
    throw new SetupError(2, `Usage: node src/setup.mjs ${Object.keys(COMMANDS).join('|')} [ARGUMENT…]`);
  await prepare(command);
  checkInterrupted();
  if (!command.program) return 0;
  const [program, ...first] = command.program;
  return runCommand(process.execPath, [join(root, program), ...first, ...rest]);
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    const expected = error instanceof SetupError ? error : explain(error);
    process.stderr.write(`${expected ? expected.message : error.stack}\n`);
    process.exitCode = expected ? expected.exit : 70;
  },
);
