/**
 * Builds real packages of different backends twice, from the index that pip is configured with: on two days, in
 * folders of different names, with nothing left of the first. Prints a table: what each backend made of it, the
 * same bytes or the first difference.
 *
 *     node dist/test/builder/twice.js [--python PATH] [--sandbox auto|none] [NAME…]
 *
 * The second build's day is three days later: a library that is loaded before all others (LD_PRELOAD) answers its
 * questions for the time. Times of files stay the kernel's, which differ, too, as the one build comes after the other.
 * Exits with 1 if the bytes of any differ or it is not built. As root it builds as an unprivileged user.
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
import { findPython, readPipSettings } from '../../src/farm/python.js';
import { REAL_PACKAGES } from './kinds.js';
import { rustPathFor } from './rust.js';
import { runUnprivileged } from './unprivileged.js';

const DEFAULT_PACKAGES = (
  'six os-service-types idna iniconfig tomlkit findpython wincertstore markupsafe kiwisolver pyyaml ' +
  'argon2-cffi-bindings contourpy levenshtein rpds-py bcrypt'
).split(' ');
const CLOCK_SHIFT_DAYS = 3;
const BUILD_TIMEOUT_MS = 30 * 60_000;

/** Answers every question for the time of day with that of another day. */
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

/** Prints the first member that differs and how. */
const COMPARE_SCRIPT = `
import sys, zipfile
one, two = (zipfile.ZipFile(path) for path in sys.argv[1:])
first, second = one.infolist(), two.infolist()
if [m.filename for m in first] != [m.filename for m in second]:
    names = [m.filename for m in first], [m.filename for m in second]
    missing = sorted(set(names[0]) ^ set(names[1]))
    print('other members: ' + ', '.join(missing[:3]) if missing else 'members in another order')
    sys.exit()
for a, b in zip(first, second):
    x, y = one.read(a), two.read(b)
    if x != y:
        at = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), min(len(x), len(y)))
        cut = slice(max(at - 20, 0), at + 40)
        print('%s: %d and %d bytes, from %d on %r, %r' % (a.filename, len(x), len(y), at, x[cut], y[cut]))
        break
    if a.date_time != b.date_time:
        print('%s: dated %r, %r' % (a.filename, a.date_time, b.date_time))
        break
    if (a.external_attr, a.extra, a.compress_type) != (b.external_attr, b.extra, b.compress_type):
        print('%s: permissions or kind of entry' % a.filename)
        break
else:
    print('the same members, packed otherwise')
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
      `${buildSites[0]?.confinement.notice ?? 'in a sandbox'}; the second build's clock is ${String(clockAhead(interpreter, shiftedEnv))} days ahead`,
  );
  let different = 0;
  for (const { name, version, description, requiredProgram } of packages) {
    if (requiredProgram !== undefined && programs.length === 0) {
      console.log(`passed over  ${name} ${version} (${description}): there is no ${requiredProgram} here`);
      continue;
    }
    const outcome = await buildTwice(name, version);
    if (!outcome.startsWith('same bytes')) different += 1;
    console.log(`${`${name} ${version}`.padEnd(28)} ${description.padEnd(42)} ${outcome}`);
  }
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  console.log(different === 0 ? 'all the same' : `${String(different)} not the same`);
  return different === 0 ? 0 : 1;

  async function createSite(name: string, extraEnv: Readonly<Record<string, string>>) {
    const workDir = join(folder, name);
    mkdirSync(workDir);
    const buildEnv = { ...env, ...extraEnv };
    const confinement = await confine({
      ...{ mode: values.sandbox, network: 'on', interpreter, programs, masked: [], env: buildEnv, workDir },
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
        ...{
          package: name,
          version,
          indexUrl,
          extraIndexUrl: null,
          sdistSha256: null,
          timeoutMs: BUILD_TIMEOUT_MS,
        },
        ...{ signal: new AbortController().signal, onLine: () => undefined },
      });
      // What the loader says where the library is out of sight.
      if (result.output.includes('cannot be preloaded')) return 'its clock could not be set';
      const [file] = result.files;
      if (!file) return `not built: ${result.output.trimEnd().split('\n').at(-1) ?? ''}`;
      const copiedWheel = join(folder, `${String(i)}.whl`);
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

/** The days between the clock of a Python that is run with these variables, and ours. */
function clockAhead({ path }: Interpreter, env: Readonly<Record<string, string>>): number {
  const said = execFileSync(path, ['-c', 'import time; print(time.time())'], { env, encoding: 'utf8' });
  return Math.round((Number(said) * 1000 - Date.now()) / 86_400_000);
}
