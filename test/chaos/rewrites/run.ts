import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Way } from './writer.js';

export interface Rewrites {
  /** It ends after so many reads; where some are over HTTP, at least a twentieth of them is. */
  readonly reads: number;
  /** Or after so many faults. Default 20. */
  readonly faults?: number;
  readonly way: Way;
  readonly projects?: number;
  /** Readers of the file system, and over HTTP. */
  readonly readers?: readonly [disk: number, http: number];
  readonly progress?: (reads: number, states: number) => void;
  /** Is done beside the readers, once there is something to read. */
  readonly beside?: (output: string) => Promise<void>;
}

export interface Came {
  readonly reads: number;
  readonly http: number;
  readonly states: number;
  readonly seconds: number;
  readonly faults: readonly string[];
}

interface Said {
  readonly ready?: boolean;
  readonly states?: number;
  readonly reads?: number;
  readonly fault?: string;
  readonly port?: number;
}

const program = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** One process writes, others read, and one is our own web server; until enough was read. */
export async function rewrites(options: Rewrites): Promise<Came> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-rewrites-'));
  const output = join(folder, 'www');
  const children: ChildProcess[] = [];
  const [disk, http] = options.readers ?? [1, 1];
  const began = performance.now();
  let besides = options.beside === undefined;
  const came = { reads: 0, http: 0, states: 0, faults: [] as string[] };
  try {
    await new Promise<void>((resolve, reject) => {
      const start = (path: string, args: readonly string[], hear: (said: Said) => void): void => {
        const child = fork(program(path), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
        children.push(child);
        child.on('message', (said: Said) => {
          hear(said);
          const read = came.reads >= options.reads && came.http >= (http > 0 ? options.reads / 20 : 0);
          if ((read && besides) || came.faults.length >= (options.faults ?? 20)) resolve();
        });
        child.on('error', reject);
        child.on('exit', (code) => {
          reject(new Error(`${path} ended with ${String(code)}`));
        });
      };
      const startReader = (where: string): void => {
        start('./reader.js', [where], ({ reads = 0, fault }) => {
          came.reads += reads;
          if (where.startsWith('http')) came.http += reads;
          if (fault !== undefined) came.faults.push(fault);
          options.progress?.(came.reads, came.states);
        });
      };
      start('./writer.js', [output, String(options.projects ?? 12), options.way], ({ ready, states }) => {
        came.states = states ?? came.states;
        if (!ready) return;
        options.beside?.(output).then(() => {
          besides = true;
        }, reject);
        for (let i = 0; i < disk; i += 1) startReader(output);
        if (http === 0) return;
        start(
          '../../../src/bin.js',
          ['web', '-o', output, '--port', '0', '-c', '/dev/null', '--no-count'],
          ({ port }) => {
            for (let i = 0; i < http; i += 1) startReader(`http://127.0.0.1:${String(port)}/`);
          },
        );
      });
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
  return { ...came, seconds: (performance.now() - began) / 1000 };
}
