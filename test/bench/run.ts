/**
 * The benchmarks: `npm run bench -- NAME [--json] [options]`, `npm run bench -- --list`.
 *
 * Each benchmark prints its figures, and the machine's limits measured in the same run. No benchmark passes or fails:
 * absolute times vary from machine to machine, and what counts is the ratio to the limits.
 */
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { PiwError, errorMessage } from '../../src/errors.js';
import type { Benchmark, BenchFigures } from './bench.js';
import { dispatch } from './dispatch.js';
import { downloads } from './downloads.js';
import { pages } from './pages.js';
import { publish } from './publish.js';
import { queue } from './queue.js';
import { release } from './release.js';
import { site } from './site.js';
import { transfer } from './transfer.js';
import { watcher } from './watcher.js';

const BENCHMARKS: readonly Benchmark[] = [
  ...[dispatch, downloads, pages, publish, queue, release, site, transfer, watcher],
];

async function main(argv: readonly string[]): Promise<number> {
  const name = argv.find((word) => !word.startsWith('-'));
  if (argv.includes('--list') || name === undefined) {
    for (const benchmark of BENCHMARKS) {
      const flags = Object.entries(benchmark.options).map(([option, value]) => `--${option} ${value}`);
      process.stdout.write(`${benchmark.name.padEnd(12)}${benchmark.summary} (${flags.join(' ')})\n`);
    }
    return argv.includes('--list') ? 0 : 2;
  }
  const bench = BENCHMARKS.find((benchmark) => benchmark.name === name);
  if (!bench) {
    process.stderr.write(`unknown benchmark: ${name}; --list shows all benchmarks\n`);
    return 2;
  }
  const options: Record<string, { type: 'string' | 'boolean' }> = { json: { type: 'boolean' } };
  for (const option of Object.keys(bench.options)) options[option] = { type: 'string' };
  const { values } = parseArgs({ args: argv.filter((word) => word !== name), options });
  const optionValues: Record<string, number> = { ...bench.options };
  for (const option of Object.keys(bench.options)) {
    const value = values[option];
    if (value === undefined) continue;
    optionValues[option] = Number(value);
    if (!Number.isFinite(optionValues[option]) || optionValues[option] <= 0) {
      process.stderr.write(`--${option} must be a number above 0\n`);
      return 2;
    }
  }
  const { figures, limits } = await bench.run(optionValues, (line) => process.stderr.write(`${line}\n`));
  const result = {
    bench: name,
    options: optionValues,
    figures: rounded(figures),
    limits: rounded(limits),
    machine: machine(),
  };
  if (values['json']) process.stdout.write(`${JSON.stringify(result)}\n`);
  else {
    const table = (title: string, entries: BenchFigures) => {
      process.stdout.write(`${title}\n`);
      for (const [key, value] of Object.entries(entries))
        process.stdout.write(`  ${key.padEnd(32)}${value}\n`);
    };
    table('figures', result.figures);
    table('limits of this machine during this run', result.limits);
  }
  return 0;
}

const rounded = (figures: BenchFigures): BenchFigures =>
  Object.fromEntries(Object.entries(figures).map(([key, value]) => [key, Math.round(value * 100) / 100]));

function machine() {
  const [first] = cpus();
  const kernel = readFileSync('/proc/sys/kernel/osrelease', { encoding: 'utf8', flag: 'r' }).trim();
  return {
    cpus: cpus().length,
    model: first?.model ?? '',
    memory_mb: Math.round(totalmem() / 1e6),
    node: process.version,
    kernel,
  };
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${errorMessage(error)}\n`);
  // Background work of the benchmark may still be running.
  process.exit(error instanceof PiwError ? error.exitCode : 1);
}
