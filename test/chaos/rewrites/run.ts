import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { WriteMode } from './writer.js';
import { memoryFolder } from '../../helpers/memory-folder.js';

export interface RewriteOptions {
  /** Reads after which it ends; if some are over HTTP, at least a twentieth of them. */
  readonly reads: number;
  /** Faults after which it ends. Default 20. */
  readonly faults?: number;
  readonly writeMode: WriteMode;
  readonly projects?: number;
  /** Number of readers of the file system, and over HTTP. */
  readonly readers?: readonly [disk: number, http: number];
  readonly progress?: (reads: number, states: number) => void;
  /** Runs next to the readers, once there is something to read. */
  readonly alongside?: (output: string) => Promise<void>;
}

export interface RewriteResult {
  readonly reads: number;
  readonly http: number;
  readonly states: number;
  readonly seconds: number;
  readonly faults: readonly string[];
}

interface RewriteMessage {
  readonly ready?: boolean;
  readonly states?: number;
  readonly reads?: number;
  readonly fault?: string;
  readonly port?: number;
}

const scriptPath = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Runs a writer, readers, and our own web server, until enough was read. */
export async function runRewrites(options: RewriteOptions): Promise<RewriteResult> {
  const folder = mkdtempSync(join(memoryFolder(), 'piw-rewrites-'));
  const output = join(folder, 'www');
  const children: ChildProcess[] = [];
  const [disk, http] = options.readers ?? [1, 1];
  const began = performance.now();
  let alongsideDone = options.alongside === undefined;
  const totals = { reads: 0, http: 0, states: 0, faults: [] as string[] };
  try {
    await new Promise<void>((resolve, reject) => {
      const start = (
        path: string,
        args: readonly string[],
        onMessage: (message: RewriteMessage) => void,
      ): void => {
        const child = fork(scriptPath(path), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
        children.push(child);
        child.on('message', (message: RewriteMessage) => {
          onMessage(message);
          const enoughRead =
            totals.reads >= options.reads && totals.http >= (http > 0 ? options.reads / 20 : 0);
          if ((enoughRead && alongsideDone) || totals.faults.length >= (options.faults ?? 20)) resolve();
        });
        child.on('error', reject);
        child.on('exit', (code) => {
          reject(new Error(`${path} exited with ${String(code)}`));
        });
      };
      const startReader = (target: string): void => {
        start('./reader.js', [target], ({ reads = 0, fault }) => {
          totals.reads += reads;
          if (target.startsWith('http')) totals.http += reads;
          if (fault !== undefined) totals.faults.push(fault);
          options.progress?.(totals.reads, totals.states);
        });
      };
      start(
        './writer.js',
        [output, String(options.projects ?? 12), options.writeMode],
        ({ ready, states }) => {
          totals.states = states ?? totals.states;
          if (!ready) return;
          options.alongside?.(output).then(() => {
            alongsideDone = true;
          }, reject);
          for (let i = 0; i < disk; i += 1) startReader(output);
          if (http === 0) return;
          start(
            '../../../run/bin.js',
            ['web', '-o', output, '--port', '0', '-c', '/dev/null', '--no-count'],
            ({ port }) => {
              for (let i = 0; i < http; i += 1) startReader(`http://127.0.0.1:${String(port)}/`);
            },
          );
        },
      );
    });
  } finally {
    const ended = children.map(
      (child) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) resolve();
          else
            child.once('exit', () => {
              resolve();
            });
          child.kill('SIGKILL');
        }),
    );
    await Promise.all(ended);
    rmSync(folder, { recursive: true, force: true });
  }
  return { ...totals, seconds: (performance.now() - began) / 1000 };
}
