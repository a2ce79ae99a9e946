/**
 * Builds source distributions that fail, each in a different way (failing-sdists.ts: ours, and real ones from the
 * index that pip is configured with), and prints what users see of each failure.
 *
 *     node dist/test/builder/failure-table.js [--list] [--ours] [--python PATH] [NAME…]
 *
 * Prints for each: name, class, sentence, and the line of the log that its page marks. Exits with 1 if any of them is
 * not as failing-sdists.ts expects, or has the class `other` and does not quote the error.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Builder } from '../../src/builder/build.js';
import type { BuildResult } from '../../src/builder/outcome.js';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import { confine } from '../../src/builder/sandbox.js';
import { findPython, readPipSettings } from '../../src/servers/python.js';
import { parseLog } from '../../src/site/pages/log-lines.js';
import { FAILING_SDISTS, type FailingSdist } from './failing-sdists.js';
import { IndexServer } from './index-server.js';
import { runUnprivileged } from './unprivileged.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: 'boolean', default: false },
    ours: { type: 'boolean', default: false },
    python: { type: 'string' },
    folder: { type: 'string' },
  },
});
const BUILD_TIMEOUT_MS = 10 * 60_000;

const selected = FAILING_SDISTS.filter(
  ({ name, sdist }) =>
    (positionals.length === 0 || positionals.some((part) => name.includes(part))) &&
    (sdist !== undefined || !values.ours),
);
if (values.list)
  for (const { name, version, failureClass } of selected) console.log(name, version, failureClass);
else process.exitCode = (await runUnprivileged(fileURLToPath(import.meta.url))) ?? (await main());

async function main(): Promise<number> {
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'piw-failures-'));
  const python = await findPython(values.python, undefined);
  const { indexUrl, env } = await readPipSettings(python);
  const interpreter = await probeInterpreter(python.path, env);
  const confinement = await confine({
    mode: 'auto',
    network: 'on',
    interpreter,
    programs: [],
    masked: [],
    env,
    workDir: folder,
  });
  const ownIndex = await IndexServer.start(selected.flatMap(({ sdist }) => sdist ?? []));
  const builder = new Builder({ interpreter, workDir: folder, env, confinement, log: console.error });
  let mismatches = 0;
  try {
    for (const entry of selected) {
      const result = await builder.build({
        package: entry.name,
        version: entry.version,
        sdistSha256: null,
        timeoutMs: BUILD_TIMEOUT_MS,
        signal: new AbortController().signal,
        onLine: () => undefined,
        // Our sdists come from our own index, their requirements from the configured one.
        ...(entry.sdist
          ? { indexUrl: ownIndex.url, extraIndexUrl: indexUrl }
          : { indexUrl, extraIndexUrl: null }),
      });
      await builder.clean();
      const marked = markedLine(result);
      const faults = faultsOf(entry, result, marked);
      if (faults.length > 0) mismatches += 1;
      console.log(
        `${faults.length > 0 ? 'FAILED' : 'ok    '} ${entry.name} ${entry.version}: ${String(result.failureClass)}`,
      );
      console.log(`         says:  ${result.details.reason ?? ''}`);
      console.log(`         marks: ${marked}`);
      for (const fault of faults) console.log(`         ${fault}`);
    }
  } finally {
    await ownIndex.stop();
  }
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  console.log(`${selected.length - mismatches} of ${selected.length} as expected`);
  return mismatches === 0 ? 0 : 1;
}

function markedLine({ output, failureClass }: BuildResult): string {
  const { failing, parts } = parseLog(output, true, failureClass);
  for (const { first, lines } of parts)
    if (failing !== undefined && failing >= first && failing < first + lines.length)
      return (lines[failing - first] ?? '').trim();
  return '';
}

function faultsOf(
  expected: FailingSdist,
  { failureClass, details }: BuildResult,
  marked: string,
): readonly string[] {
  const reason = details.reason ?? '';
  const quotes = failureClass !== 'other' || /"[^"]{3,}/.test(reason) || reason.includes('printed nothing');
  return [
    ...(failureClass === expected.failureClass ? [] : [`its class is not ${expected.failureClass}`]),
    ...(expected.sentence.test(reason) ? [] : [`its sentence is not like ${String(expected.sentence)}`]),
    ...(expected.marked.test(marked) ? [] : [`its marked line is not like ${String(expected.marked)}`]),
    ...(quotes ? [] : ['it quotes no error']),
  ];
}
