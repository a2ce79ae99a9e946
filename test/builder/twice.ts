/**
 * Builds real packages with different backends twice, from the index that pip is configured with: on two days, in
 * folders with different names, with nothing left of the first build. Prints a table that says for each package
 * whether the two wheels have the same bytes, or what the first difference is.
 *
 *     node dist/test/builder/twice.js [--python PATH] [--sandbox auto|none] [NAME…]
 *
 * The second build takes place three days later: a preloaded library (LD_PRELOAD) shifts its clock. Times of files are
 * still the kernel's; they differ, too, because one build comes after the other. Exits with 1 if the bytes of any
 * package differ or a build fails. As root it builds as an unprivileged user.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Builder } from '../../src/builder/build.js';
import { probeInterpreter, type Interpreter } from '../../src/builder/interpreter.js';
import { confine } from '../../src/builder/sandbox.js';
import { findPython, readPipSettings } from '../../src/servers/python.js';
import { REAL_PACKAGES } from './kinds.js';
import { rustPathFor } from './rust.js';
import { runUnprivileged } from './unprivileged.js';

const DEFAULT_PACKAGES = (
  'six os-service-types idna iniconfig tomlkit findpython wincertstore markupsafe kiwisolver pyyaml ' +
  'argon2-cffi-bindings contourpy levenshtein rpds-py bcrypt'
).split(' ');
const CLOCK_SHIFT_DAYS = 3;
const BUILD_TIMEOUT_MS = 30 * 60_000;

/** Shifts the time of day by PIW_TEST_SHIFT seconds. */
const CLOCK_SHIFT_SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static time_t shift(void) { const char *s = getenv("PIW_TEST_SHIFT"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *to) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(id, to);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) to->tv_sec += shift();
  return failed;
}
int gettimeofday(struct timeval *to, void *zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
  int failed = real(to, zone);
  if (!failed) to->tv_sec += shift();
  return failed;
}
time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}
`;

/** Prints the first member that differs, and how. */
const COMPARE_SCRIPT = `
import sys, zipfile
archive_a, archive_b = (zipfile.ZipFile(path) for path in sys.argv[1:])
first, second = archive_a.infolist(), archive_b.infolist()
if [m.filename for m in first] != [m.filename for m in second]:
    names = [m.filename for m in first], [m.filename for m in second]
    missing = sorted(set(names[0]) ^ set(names[1]))
    print('different members: ' + ', '.join(missing[:3]) if missing else 'members in a different order')
    sys.exit()
for a, b in zip(first, second):
    x, y = archive_a.read(a), archive_b.read(b)
    if x != y:
        at = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), min(len(x), len(y)))
        cut = slice(max(at - 20, 0), at + 40)
        print('%s: %d and %d bytes, from %d on %r, %r' % (a.filename, len(x), len(y), at, x[cut], y[cut]))
        break
    if a.date_time != b.date_time:
        print('%s: dated %r, %r' % (a.filename, a.date_time, b.date_time))
        break
    if (a.external_attr, a.extra, a.compress_type) != (b.external_attr, b.extra, b.compress_type):
        print('%s: different permissions or type' % a.filename)
        break
else:
    print('the same members, compressed differently')
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string' },
    sandbox: { type: 'string', default: 'auto' },
    folder: { type: 'string' },
    programs: { type: 'string', multiple: true, default: [] },
  },
});
const packages = REAL_PACKAGES.filter(({ name }) =>
  (positionals.length > 0 ? positionals : DEFAULT_PACKAGES).includes(name),
);
const needsRust = packages.some(({ requiredProgram }) => requiredProgram === 'cargo');
process.exitCode =
  (await runUnprivileged(fileURLToPath(import.meta.url), (account, folder) =>
    [...values.programs, ...(needsRust ? rustPathFor(account, folder) : [])].map(
      (path) => `--programs=${path}`,
    ),
  )) ?? (await compare());

async function compare(): Promise<number> {
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'piw-twice-'));
  chmodSync(folder, 0o755);
  const programs =
    values.programs.length > 0 || !needsRust ? values.programs : rustPathFor(undefined, folder);
  const python = await findPython(values.python, undefined);
  const { indexUrl, env } = await readPipSettings(python);
  const interpreter = await probeInterpreter(python.path, env);
  const library = join(folder, 'shift.so');
  writeFileSync(join(folder, 'shift.c'), CLOCK_SHIFT_SOURCE);
  execFileSync('cc', ['-shared', '-fPIC', '-O2', join(folder, 'shift.c'), '-o', library, '-ldl']);
  const shiftedEnv = { LD_PRELOAD: library, PIW_TEST_SHIFT: String(CLOCK_SHIFT_DAYS * 86_400) };
  const buildSites = [await createSite('day', {}), await createSite('three-days-later', shiftedEnv)];
  console.log(
    `${interpreter.implementation} ${interpreter.version}, pip ${interpreter.pipVersion}, ${interpreter.platformTag}; ` +
      `${buildSites[0]?.confinement.notice ?? 'in a sandbox'}; the second build's clock is ${clockAhead(interpreter, shiftedEnv)} days ahead`,
  );
  let different = 0;
  for (const { name, version, description, requiredProgram } of packages) {
    if (requiredProgram !== undefined && programs.length === 0) {
      console.log(`skipped  ${name} ${version} (${description}): ${requiredProgram} is not installed`);
      continue;
    }
    const outcome = await buildTwice(name, version);
    if (!outcome.startsWith('same bytes')) different += 1;
    console.log(`${`${name} ${version}`.padEnd(28)} ${description.padEnd(42)} ${outcome}`);
  }
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  console.log(different === 0 ? 'all identical' : `${different} not identical`);
  return different === 0 ? 0 : 1;

  async function createSite(name: string, extraEnv: Readonly<Record<string, string>>) {
    const workDir = join(folder, name);
    mkdirSync(workDir);
    const buildEnv = { ...env, ...extraEnv };
    const confinement = await confine({
      mode: values.sandbox,
      network: 'on',
      interpreter,
      programs,
      masked: [],
      env: buildEnv,
      workDir,
    });
    return {
      builder: new Builder({
        interpreter,
        workDir,
        env: buildEnv,
        programs,
        confinement,
        log: console.error,
      }),
      confinement,
    };
  }

  async function buildTwice(name: string, version: string): Promise<string> {
    const paths: string[] = [];
    for (const [i, { builder }] of buildSites.entries()) {
      const result = await builder.build({
        package: name,
        version,
        indexUrl,
        extraIndexUrl: null,
        sdistSha256: null,
        timeoutMs: BUILD_TIMEOUT_MS,
        signal: new AbortController().signal,
        onLine: () => undefined,
      });
      // The loader's message if the library is not visible.
      if (result.output.includes('cannot be preloaded')) return 'its clock could not be shifted';
      const [file] = result.files;
      if (!file) return `not built: ${result.output.trimEnd().split('\n').at(-1) ?? ''}`;
      const copiedWheel = join(folder, `${i}.whl`);
      writeFileSync(copiedWheel, readFileSync(file.path));
      paths.push(copiedWheel);
      await builder.clean();
    }
    const [first, second] = paths.map((path) =>
      createHash('sha256').update(readFileSync(path)).digest('hex'),
    );
    if (first !== undefined && first === second) return `same bytes  ${first.slice(0, 12)}…`;
    return execFileSync(interpreter.path, ['-c', COMPARE_SCRIPT, ...paths], { encoding: 'utf8' }).trim();
  }
}

/** Returns how many days the clock of a Python that runs with these variables is ahead of this process's. */
function clockAhead({ path }: Interpreter, env: Readonly<Record<string, string>>): number {
  const seconds = execFileSync(path, ['-c', 'import time; print(time.time())'], { env, encoding: 'utf8' });
  return Math.round((Number(seconds) * 1000 - Date.now()) / 86_400_000);
}
