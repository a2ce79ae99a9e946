import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './bus.js';

/** Counters from a server's monitoring port. */
export interface NatsCounts {
  readonly connections: number;
  readonly subscriptions: number;
  readonly consumers: number;
}

interface NatsFiles {
  readonly binary: string;
  /** A command that runs the command which follows it, e.g. in the network of another host. */
  readonly launcher?: readonly string[];
  readonly config: string;
  readonly log: string;
  /** JetStream's folder. */
  readonly store: string;
}

/** A nats-server with JetStream and a monitoring port, which a test can start, stop and suspend. */
export class ControlledNats {
  readonly store: string;
  readonly #files: NatsFiles;
  readonly #monitorUrl: string;
  readonly #spawnOptions: SpawnOptions;
  #child: ChildProcess | undefined;

  protected constructor(
    files: NatsFiles,
    monitorPort: number,
    spawnOptions: SpawnOptions = {},
    monitorHost = '127.0.0.1',
  ) {
    this.#files = files;
    this.store = files.store;
    this.#monitorUrl = `http://${monitorHost}:${monitorPort}`;
    this.#spawnOptions = spawnOptions;
  }

  /** Starts the server, and waits until it answers. Throws if it exits. */
  async start(): Promise<void> {
    const { binary, config, launcher = [], log: logFile } = this.#files;
    const log = openSync(logFile, 'a');
    const [program, ...args] = [...launcher, binary, '-c', config];
    const child = spawn(program, args, { ...this.#spawnOptions, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    await until(async () => child.exitCode !== null || (await this.counts()) !== undefined, 60_000);
    if (child.exitCode !== null)
      throw new Error(`nats-server exited with code ${child.exitCode}: see ${logFile}`);
  }

  /** Ends the server, even if it is suspended, and waits until it has exited. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    child.kill('SIGCONT');
    await ended;
  }

  /** Sends a signal; for SIGSTOP it returns when every thread of the server has stopped. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    process.kill(pid, signal);
    if (signal !== 'SIGSTOP') return;
    const tasks = `/proc/${pid}/task`;
    const isStopped = (task: string): boolean =>
      readFileSync(join(tasks, task, 'stat'), 'utf8')
        .split(') ')
        .at(-1)
        ?.startsWith('T') ?? false;
    while (!readdirSync(tasks).every(isStopped));
  }

  /** Fills the file system of the store, so that nothing can be written to it until freeDisk(). */
  fillDisk(): void {
    const file = openSync(join(this.store, 'filler'), 'w');
    try {
      for (;;) writeSync(file, Buffer.alloc(64 * 1024));
    } catch (error) {
      if (!String(error).includes('ENOSPC')) throw error;
    } finally {
      closeSync(file);
    }
  }

  freeDisk(): void {
    rmSync(join(this.store, 'filler'));
  }

  /** Returns its counters; undefined while it doesn't answer. */
  async counts(): Promise<NatsCounts | undefined> {
    try {
      const [connections, subscriptions, consumers] = await Promise.all([
        this.counter('connz', 'num_connections'),
        this.counter('subsz', 'num_subscriptions'),
        this.counter('jsz', 'consumers'),
      ]);
      return { connections, subscriptions, consumers };
    } catch {
      return undefined;
    }
  }

  protected async counter(path: string, key: string): Promise<number> {
    const answer = await fetch(`${this.#monitorUrl}/${path}`, { signal: AbortSignal.timeout(2000) });
    return ((await answer.json()) as Record<string, number>)[key] ?? NaN;
  }
}
