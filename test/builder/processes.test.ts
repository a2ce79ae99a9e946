import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { DEFAULT_BUILD_LIMITS } from '../../src/builder/limits.js';
import { runBuildProcess } from '../../src/builder/run.js';
import { confine } from '../../src/builder/sandbox.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

const index = await IndexServer.start([
  packFixture('lingers'),
  packFixture('lingers', { version: '2.0' }),
  packFixture('hangs-on'),
  packFixture('hangs-on', { version: '2.0' }),
  packFixture('plain'),
  packFixture('sheds', { version: '2.0' }),
]);
t.teardown(() => index.stop());

/** The processes that a build reports in its output, by their labels. */
class ReportedProcesses {
  readonly pids = new Map<string, number>();
  readonly #allReported: Promise<void>;
  #resolveIfComplete: () => void = () => undefined;

  constructor(count: number) {
    this.#allReported = new Promise((resolve) => {
      this.#resolveIfComplete = () => {
        if (this.pids.size >= count) resolve();
      };
    });
  }

  readonly onLine = (line: string): void => {
    const [, label, pid] = /\b(child|daemon|bare|sleeping) (\d+)$/.exec(line) ?? [];
    if (label !== undefined) this.pids.set(label, Number(pid));
    this.#resolveIfComplete();
  };

  async waitForAll(): Promise<void> {
    await this.#allReported;
  }

  /** Returns the labels of the processes that still run. */
  alive(): string[] {
    return [...this.pids].filter(([, pid]) => isRunning(pid)).map(([label]) => label);
  }
}

/** Returns whether a process runs; a zombie does not. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !existsSync('/proc') || !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

const onlyLinux = process.platform === 'linux' ? {} : { skip: 'needs Linux to find daemons' };

t.test(
  'stopping a build kills all of its processes, even daemons and those that ignore SIGTERM',
  onlyLinux,
  async (t) => {
    const { builder, request } = createTestBuilder(t, index.url);
    const reported = new ReportedProcesses(4);
    const stop = new AbortController();
    const result = builder.build(request('lingers', { onLine: reported.onLine, signal: stop.signal }));
    await Promise.race([reported.waitForAll(), result]);
    t.strictSame(reported.alive().sort(), ['bare', 'child', 'daemon', 'sleeping']);
    stop.abort();
    t.match(await result, { status: false, failureClass: 'killed' });
    t.strictSame(reported.alive(), []);
  },
);

t.test(
  'a build whose process is killed from elsewhere is not a failure of the package',
  onlyLinux,
  async (t) => {
    const workDir = temporaryFolder(t);
    const env = { PIP_RETRIES: '0', PIW_TEST_WORD: 'piw-test' };
    const confinement = await confine({
      mode: 'none',
      network: 'on',
      interpreter,
      env,
      workDir,
      masked: [],
    });
    const { builder, request } = createTestBuilder(t, index.url, { workDir, env, confinement });
    const reported = new ReportedProcesses(1);
    const result = builder.build(request('sheds', { version: '2.0', onLine: reported.onLine }));
    await Promise.race([reported.waitForAll(), result]);
    process.kill(reported.pids.get('sleeping') ?? 0, 'SIGKILL');
    const { failureClass, output } = await result;
    t.equal(failureClass, 'killed', output);
    t.match(output, /\npiw: .* one of its processes was killed, but not for lack of memory\n$/);
    t.strictSame(reported.alive(), []);
  },
);

t.test('the time limit ends a build', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const reported = new ReportedProcesses(4);
  const result = await builder.build(request('lingers', { onLine: reported.onLine, timeoutMs: 4000 }));
  t.match(result, { status: false, failureClass: 'timeout' });
  t.match(result.output, /\npiw: piw-fixture-lingers 1\.0 was not built: it took more than 4 s\n$/);
  t.ok(result.durationS >= 4 && result.durationS < 20, String(result.durationS));
  t.strictSame(reported.alive(), []);
});

t.test('daemons neither outlive nor delay a successful build', onlyLinux, async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const reported = new ReportedProcesses(3);
  const result = await builder.build(request('lingers', { version: '2.0', onLine: reported.onLine }));
  t.ok(result.status, result.output);
  t.equal(reported.pids.size, 3, result.output);
  t.strictSame(reported.alive(), []);
});

for (const [mode, where] of [
  ['auto', 'in a sandbox'],
  ['none', 'below the reaper'],
  [undefined, 'without confinement'],
] as const)
  t.test(
    `a daemon that keeps the output open does not delay a build, ${where}, and the log names it`,
    onlyLinux,
    async (t) => {
      const workDir = temporaryFolder(t);
      const env = { PIP_RETRIES: '0' };
      const confinementOption = mode && {
        confinement: await confine({ mode, network: 'on', interpreter, env, workDir, masked: [] }),
      };
      const { builder, request } = createTestBuilder(t, index.url, { workDir, env, ...confinementOption });
      for (const [version, expected] of [
        ['1.0', { status: true, failureClass: null }],
        ['2.0', { status: false, failureClass: 'other', output: /RuntimeError: it does not build/ }],
      ] as const) {
        const lines: string[] = [];
        const onLine = (line: string): void => void lines.push(line);
        const result = await builder.build(request('hangs-on', { version, onLine, timeoutMs: 90_000 }));
        t.match(result, expected, result.output);
        const [, pid = '0'] =
          /\npiw: killed process (\d+) \(.* its-daemon\): it kept the output of the build open after/.exec(
            result.output,
          ) ?? [];
        t.ok(Number(pid) > 0, result.output);
        t.notOk(isRunning(Number(pid)));
        t.equal(lines.filter((line) => line.startsWith(`piw: killed process ${pid} `)).length, 1);
      }
    },
  );

t.test('a build whose signal is already aborted does not start', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('plain', { signal: AbortSignal.abort() }));
  t.match(result, { status: false, failureClass: 'killed', files: [] });
});

t.test('a command that ignores SIGTERM is killed', async (t) => {
  const folder = temporaryFolder(t);
  const lines: string[] = [];
  const result = await runBuildProcess({
    command: '/bin/sh',
    args: ['-c', 'trap "" TERM; echo to one; echo to the other >&2; sleep 3600'],
    folder,
    env: { PATH: '/usr/bin:/bin', PIW_BUILD: folder },
    timeoutMs: 300,
    limits: { ...DEFAULT_BUILD_LIMITS, log: 1000, niceness: 0 },
    signal: new AbortController().signal,
    onLine: (line) => void lines.push(line),
  });
  t.strictSame(result, {
    code: null,
    signal: 'SIGKILL',
    termination: 'timeout',
    output: 'to one\nto the other\n',
    survivors: [],
  });
  t.strictSame(lines, ['to one', 'to the other']);
});
