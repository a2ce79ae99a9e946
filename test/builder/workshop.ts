import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Builder, type BuildRequest, type BuilderOptions } from '../../src/builder/build.js';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import type { Confinement } from '../../src/builder/sandbox.js';

/** The machine's Python, probed once per test file. */
export const interpreter = await probeInterpreter('python3', {});

/** Neither a sandbox nor a notice about its absence. */
const NO_CONFINEMENT: Confinement = { notice: undefined, commandPrefix: () => [] };

/** Creates a folder that is removed after the test. */
export function temporaryFolder(t: Test): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'piw-builder-'));
  t.teardown(() => {
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  });
  return path;
}

/** Creates a builder in its own folder with the machine's pip, and a factory of requests for it. */
export function createTestBuilder(
  t: Test,
  indexUrl: string,
  options: Partial<BuilderOptions> = {},
): {
  readonly builder: Builder;
  readonly workDir: string;
  readonly troubles: readonly string[];
  readonly request: (fixture: string, overrides?: Partial<BuildRequest>) => BuildRequest;
} {
  const troubles: string[] = [];
  const workDir = options.workDir ?? temporaryFolder(t);
  const builder = new Builder({
    interpreter,
    workDir,
    env: { PIP_RETRIES: '0' },
    confinement: NO_CONFINEMENT,
    log: (line) => {
      troubles.push(line);
    },
    ...options,
  });
  t.teardown(() => builder.clean());
  return {
    builder,
    workDir,
    troubles,
    request: (fixture, overrides = {}) => ({
      package: `piw-fixture-${fixture}`,
      version: '1.0',
      indexUrl,
      extraIndexUrl: null,
      sdistSha256: null,
      timeoutMs: 180_000,
      signal: new AbortController().signal,
      onLine: () => undefined,
      ...overrides,
    }),
  };
}
