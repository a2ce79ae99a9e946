/**
 * Builds real packages of as many kinds as possible, from the index that pip is configured with, and sdists of ours
 * that misbehave; each must end as its table says.
 *
 *     node dist/test/builder/real-kinds.js [--list] [--python PATH] [--network on|requirements] [NAME…]
 *
 * Prints a line for each: `ok` or `FAILED`, the duration, what it is, and the result. Exits with 1 if anything is not
 * as expected. As root it builds as an unprivileged user, with a copy of root's Rust compiler if only root can reach
 * that.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Builder, type BuildRequest } from '../../src/builder/build.js';
import type { BuildResult } from '../../src/builder/outcome.js';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import { confine } from '../../src/builder/sandbox.js';
import type { Account } from '../../src/servers/privileges.js';
import { findPython, readPipSettings } from '../../src/servers/python.js';
import { expectedTags, REAL_PACKAGES } from './kinds.js';
import { startMisbehavingIndex } from './misfits.js';
import { rustPathFor } from './rust.js';
import { runUnprivileged } from './unprivileged.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: 'boolean', default: false },
    python: { type: 'string' },
    network: { type: 'string', default: 'on' },
    folder: { type: 'string' },
    programs: { type: 'string', multiple: true, default: [] },
  },
});
const BUILD_TIMEOUT_MS = 20 * 60_000;
process.exitCode =
  (await runUnprivileged(fileURLToPath(import.meta.url), (account, folder) =>
    [...values.programs, ...rustPaths(account, folder)].map((path) => `--programs=${path}`),
  )) ?? (await build());

function rustPaths(account: Account | undefined, folder: string): readonly string[] {
  const needsRust = REAL_PACKAGES.some(
    ({ name, requiredProgram }) => requiredProgram !== undefined && positionals.includes(name),
  );
  return positionals.length === 0 || needsRust ? rustPathFor(account, folder) : [];
}

async function build(): Promise<number> {
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'piw-kinds-'));
  const programs = values.programs.length > 0 ? values.programs : rustPaths(undefined, folder);
  const python = await findPython(values.python, undefined);
  const { indexUrl, env } = await readPipSettings(python);
  const interpreter = await probeInterpreter(python.path, env);
  const confineWith = (masked: readonly string[], extraEnv: Readonly<Record<string, string>>) =>
    confine({
      mode: 'auto',
      network: values.network,
      interpreter,
      programs,
      masked,
      env: { ...env, ...extraEnv },
      workDir: folder,
    });
  const confinement = await confineWith([], {});
  console.log(
    `${interpreter.implementation} ${interpreter.version}, pip ${interpreter.pipVersion}, ${interpreter.platformTag}; ` +
      `${confinement.notice ?? 'in a sandbox'}, network ${values.network}; index ${new URL(indexUrl).host}`,
  );
  const isSelected = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
  let mismatches = 0;
  const printOutcome = (
    name: string,
    description: string,
    expected: string,
    actual: string,
    seconds: number,
  ): void => {
    const matches = expected === actual;
    if (!matches) mismatches += 1;
    const time = `${seconds.toFixed(1).padStart(6)} s`;
    const outcome = matches ? actual : `${actual}, expected ${expected}`;
    console.log(`${matches ? 'ok    ' : 'FAILED'} ${time}  ${name} (${description}): ${outcome}`);
  };
  const request = (overrides: Partial<BuildRequest>): BuildRequest => ({
    package: '',
    version: '1.0',
    indexUrl,
    extraIndexUrl: null,
    sdistSha256: null,
    timeoutMs: BUILD_TIMEOUT_MS,
    signal: new AbortController().signal,
    onLine: () => undefined,
    ...overrides,
  });

  for (const realPackage of REAL_PACKAGES.filter(({ name }) => isSelected(name))) {
    const { name, version, description, requiredProgram } = realPackage;
    if (values.list) {
      console.log(`${name} ${version}: ${description}`);
      continue;
    }
    if (requiredProgram !== undefined && programs.length === 0) {
      console.log(`skipped ${name} (${description}): ${requiredProgram} is not installed`);
      continue;
    }
    const builder = new Builder({
      interpreter,
      workDir: folder,
      env,
      programs,
      confinement,
      log: console.error,
    });
    const result = await builder.build(request({ package: name, version }));
    printOutcome(
      `${name} ${version}`,
      description,
      expectedTags(realPackage, interpreter),
      describeOutcome(result),
      result.durationS,
    );
    await builder.clean();
  }

  const misbehaving = await startMisbehavingIndex(folder, values.network);
  try {
    for (const sdist of misbehaving.sdists.filter(({ fixture }) => isSelected(fixture))) {
      const { fixture, description, expected, version = '1.0', limits, masked = [], check } = sdist;
      if (values.list) {
        console.log(`${fixture} ${version}: ${description}`);
        continue;
      }
      const extraEnv = { ...sdist.env };
      const sdistConfinement = await confineWith(masked, extraEnv);
      const builder = new Builder({
        interpreter,
        workDir: folder,
        env: { ...env, ...extraEnv },
        confinement: sdistConfinement,
        log: console.error,
        ...(limits === undefined ? {} : { limits }),
      });
      const result = await builder.build(
        request({
          package: `piw-fixture-${fixture}`,
          version,
          indexUrl: misbehaving.url,
          ...sdist.request,
        }),
      );
      const trouble = check?.(result, sdistConfinement.notice === undefined) ?? '';
      await builder.clean();
      printOutcome(
        `${fixture} ${version}`,
        description,
        expected,
        describeOutcome(result) + trouble,
        result.durationS,
      );
    }
  } finally {
    await misbehaving.stop();
  }
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  if (!values.list) console.log(mismatches === 0 ? 'all as expected' : `${mismatches} not as expected`);
  return mismatches === 0 ? 0 : 1;
}

/** Returns the tags of the wheels that were built, or the failure class. */
function describeOutcome({ failureClass, files, output }: BuildResult): string {
  if (failureClass === null)
    return files
      .map(({ py_version_tag, abi_tag, platform_tag }) => `${py_version_tag}-${abi_tag}-${platform_tag}`)
      .join(' ');
  return / was not built: \S/.test(output.trimEnd().split('\n').at(-1) ?? '')
    ? failureClass
    : `${failureClass} without a sentence`;
}
