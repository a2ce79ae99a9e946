/** What the scripts that run chapters on clean machines have in common: a line for each block and check. */
import { chownSync, cpSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { shellBlocks, type ShellBlock } from '../docs/blocks.js';
import { blocksRunBy, reasonNotRun } from '../docs/runners.js';
import type { CleanMachine } from './clean-machine.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const LOG_LINES_SHOWN = 60;

let failures = 0;
/** The blocks that have been run, or need not be. */
const done = new Set<string>();

const nameOf = ({ page, line, headings }: ShellBlock): string =>
  `${page}:${line} ${headings.slice(1).join(', ')}`;

/** Prints one line about something that has been done since `startMs`. */
export function report(ok: boolean, text: string, startMs: number): void {
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${text} (${seconds} s)\n`);
  if (!ok) failures += 1;
}

/** Prints the blocks that this script ought to have run and has not, and the last line; sets the exit code. */
export function reportEnd(script: string): void {
  for (const block of blocksRunBy(script))
    if (!done.has(nameOf(block))) report(false, `${nameOf(block)} was not reached`, performance.now());
  process.stdout.write(failures === 0 ? 'all passed\n' : `${failures} failed\n`);
  process.exitCode = failures === 0 ? 0 : 1;
}

export class BlockFailed extends Error {}

/** Runs one block; throws BlockFailed, after the end of the log was printed, if a command in it fails. */
export async function runBlock(machine: CleanMachine, block: ShellBlock): Promise<void> {
  const title = `${nameOf(block)} (${machine.name})`;
  const reason = reasonNotRun(block);
  if (reason !== null) {
    process.stdout.write(`not run ${title}: ${reason}\n`);
    return;
  }
  const startMs = performance.now();
  const ok = await machine.run(block.script);
  report(ok, title, startMs);
  done.add(nameOf(block));
  if (ok) return;
  showLog(machine);
  throw new BlockFailed(title);
}

function showLog(machine: CleanMachine): void {
  const units = machine.asRoot('tail -n 30 /var/log/units/*.log 2>/dev/null || true');
  const log = readFileSync(machine.log, 'utf8').split('\n').slice(-LOG_LINES_SHOWN).join('\n');
  process.stdout.write(`--- ${machine.name}\n${log}\n--- its services\n${units}\n`);
}

/** Checks what a script prints as root on a machine. */
export function check(machine: CleanMachine, title: string, script: string, expected: RegExp): void {
  const startMs = performance.now();
  let output: string;
  try {
    output = machine.asRoot(script);
  } catch (error) {
    output = String(error);
  }
  const ok = expected.test(output);
  report(ok, `${title} (${machine.name})`, startMs);
  if (!ok) process.stdout.write(`expected ${String(expected)}, got:\n${output}\n`);
}

/** Returns the blocks directly under a heading of a chapter. */
export const blocksUnder = (page: string, heading: string): readonly ShellBlock[] =>
  shellBlocks(page).filter(({ headings }) => headings.at(-1) === heading);

/** Copies this clone to where `admin` of a machine can build it. */
export function copyClone(clone: string, machine: CleanMachine): void {
  const startMs = performance.now();
  cpSync(ROOT, clone, { recursive: true, verbatimSymlinks: true });
  const owner = Number(machine.asRoot('id -u admin'));
  chownSync(clone, owner, owner);
  machine.asRoot('chown -R admin: /home/admin/piw');
  report(true, 'a clone', startMs);
}
