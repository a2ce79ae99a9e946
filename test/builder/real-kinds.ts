/**
 * Builds real packages of as many kinds as there are, from the index that pip is configured with, and sdists
 * of ours that do what none should; each must end as the table says.
 *
 *     node dist/test/builder/real-kinds.js [--list] [--python PATH] [--network on|requirements] [NAME…]
 *
 * Prints a line for each: what it is, what became of it, how long it took, and `ok` or `FAILED`. Exits with
 * 1 if anything is not as expected. As root it builds as an unprivileged user, with a copy of root's Rust
 * compiler if only root can reach that.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Builder, type BuildRequest, type BuildResult } from '../../src/builder/build.js';
import { probe } from '../../src/builder/interpreter.js';
import { confine } from '../../src/builder/sandbox.js';
import type { Account } from '../../src/farm/privileges.js';
import { findPython, pipSettings } from '../../src/farm/python.js';
import { expectedTags, KINDS } from './kinds.js';
import { startMisfits } from './misfits.js';
import { rustFor } from './rust.js';
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
const LIMIT_MS = 20 * 60_000;
process.exitCode =
  (await runUnprivileged(fileURLToPath(import.meta.url), (account, folder) =>
    [...values.programs, ...rust(account, folder)].map((path) => `--programs=${path}`),
  )) ?? (await build());

function rust(account: Account | undefined, folder: string): readonly string[] {
  const wanted = KINDS.some(({ name, needs }) => needs !== undefined && positionals.includes(name));
  return positionals.length === 0 || wanted ? rustFor(account, folder) : [];
}

async function build(): Promise<number> {
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'piw-kinds-'));
  const programs = values.programs.length > 0 ? values.programs : rust(undefined, folder);
  const python = await findPython(values.python, undefined);
  const { indexUrl, env } = await pipSettings(python);
  const interpreter = await probe(python.path, env);
  const confine_ = (masked: readonly string[], more: Readonly<Record<string, string>>) =>
    confine({
      ...{ mode: 'auto', network: values.network, interpreter, programs, masked },
      ...{ env: { ...env, ...more }, workDir: folder },
    });
  const confinement = await confine_([], {});
  console.log(
    `${interpreter.implementation} ${interpreter.version}, pip ${interpreter.pipVersion}, ${interpreter.platformTag}; ` +
      `${confinement.notice ?? 'in a sandbox'}, network ${values.network}; index ${new URL(indexUrl).host}`,
  );
  const wanted = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
  let wrong = 0;
  const tell = (name: string, standsFor: string, expected: string, found: string, seconds: number): void => {
    const right = expected === found;
    if (!right) wrong += 1;
    const time = `${seconds.toFixed(1).padStart(6)} s`;
    const outcome = right ? found : `${found}, and not ${expected}`;
    console.log(`${right ? 'ok    ' : 'FAILED'} ${time}  ${name} (${standsFor}): ${outcome}`);
  };
  const request = (more: Partial<BuildRequest>): BuildRequest => ({
    ...{ package: '', version: '1.0', indexUrl, extraIndexUrl: null, sdistSha256: null },
    ...{ timeoutMs: LIMIT_MS, signal: new AbortController().signal, onLine: () => undefined },
    ...more,
  });

  for (const kind of KINDS.filter(({ name }) => wanted(name))) {
    const { name, version, standsFor, needs } = kind;
    if (values.list) {
      console.log(`${name} ${version}: ${standsFor}`);
      continue;
    }
    if (needs !== undefined && programs.length === 0) {
      console.log(`passed over ${name} (${standsFor}): there is no ${needs} here`);
      continue;
    }
    const builder = new Builder({
      ...{ interpreter, workDir: folder, env, programs, confinement, log: console.error },
    });
    const result = await builder.build(request({ package: name, version }));
    tell(`${name} ${version}`, standsFor, expectedTags(kind, interpreter), outcome(result), result.durationS);
    await builder.clean();
  }

  const misfits = await startMisfits(folder, values.network);
  try {
    for (const misfit of misfits.all.filter(({ fixture }) => wanted(fixture))) {
      const { fixture, standsFor, expected, version = '1.0', limits, masked = [], check } = misfit;
      if (values.list) {
        console.log(`${fixture} ${version}: ${standsFor}`);
        continue;
      }
      const more = { ...misfit.env };
      const walls = await confine_(masked, more);
      const builder = new Builder({
        ...{ interpreter, workDir: folder, env: { ...env, ...more }, confinement: walls, log: console.error },
        ...(limits === undefined ? {} : { limits }),
      });
      const result = await builder.build(
        request({
          ...{ package: `piw-fixture-${fixture}`, version, indexUrl: misfits.url },
          ...misfit.request,
        }),
      );
      const trouble = check?.(result, walls.notice === undefined) ?? '';
      await builder.clean();
      tell(`${fixture} ${version}`, standsFor, expected, outcome(result) + trouble, result.durationS);
    }
  } finally {
    await misfits.stop();
  }
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  if (!values.list) console.log(wrong === 0 ? 'all as expected' : `${String(wrong)} not as expected`);
  return wrong === 0 ? 0 : 1;
}

/** The tags of what was built, or why nothing was. */
function outcome({ failureClass, files, output }: BuildResult): string {
  if (failureClass === null)
    return files
      .map(({ py_version_tag, abi_tag, platform_tag }) => `${py_version_tag}-${abi_tag}-${platform_tag}`)
      .join(' ');
  return / was not built: \S/.test(output.trimEnd().split('\n').at(-1) ?? '')
    ? failureClass
    : `${failureClass} without a sentence`;
}
