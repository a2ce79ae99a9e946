import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { freePort } from '../../src/servers/ports.js';
import { Bus, type BusOptions } from '../../src/bus/bus.js';
import { until } from './bus.js';
import { natsBinary } from './nats.js';

/** Counters from a server's monitoring port. */
interface NatsCounts {
  readonly connections: number;
  readonly subscriptions: number;
  readonly consumers: number;
}

/** A nats-server with JetStream for one test, which the test can start, stop and suspend. */
export class TestNats {
  readonly address: string;
  readonly folder: string;
  readonly #binary: string;
  readonly #monitorUrl: string;
  #child: ChildProcess | undefined;

  private constructor(binary: string, folder: string, port: number, monitor: number) {
    this.#binary = binary;
    this.folder = folder;
    this.address = `nats://127.0.0.1:${String(port)}`;
    this.#monitorUrl = `http://127.0.0.1:${String(monitor)}`;
    // The server reserves the maximum size of every bucket, however small the disk is.
    const config = `listen: 127.0.0.1:${String(port)}\nhttp: 127.0.0.1:${String(monitor)}\njetstream { store_dir: ${JSON.stringify(this.store)}, max_file_store: 1TB }\n`;
    writeFileSync(join(folder, 'nats.conf'), config);
  }

  /** Starts a server; with `diskMb` its store is a file system of that size, which needs root. */
  static async start(t: Test, { diskMb }: { readonly diskMb?: number } = {}): Promise<TestNats> {
    const folder = mkdtempSync(join(tmpdir(), 'piw-nats-'));
    const binary = await natsBinary(t);
    const create = async () => new TestNats(binary, folder, await freePort(), await freePort());
    let nats = await create();
    mkdirSync(nats.store);
    if (diskMb !== undefined)
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${String(diskMb)}m`, 'tmpfs', nats.store]);
    t.teardown(async () => {
      await nats.stop('SIGKILL');
      if (diskMb !== undefined) execFileSync('umount', [nats.store]);
      rmSync(folder, { recursive: true, force: true });
    });
    for (let attempts = 1; ; attempts += 1) {
      try {
        await nats.start();
        return nats;
      } catch (error) {
        // Another process may have taken one of the ports since it was free.
        if (attempts === 3) throw error;
        nats = await create();
      }
    }
  }

  get store(): string {
    return join(this.folder, 'store');
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

  async start(): Promise<void> {
    const log = openSync(join(this.folder, 'log'), 'a');
    this.#child = spawn(this.#binary, ['-c', join(this.folder, 'nats.conf')], {
      stdio: ['ignore', log, log],
    });
    const child = this.#child;
    const isUp = () =>
      this.counts()
        .then(() => true)
        .catch(() => false);
    await until(async () => child.exitCode !== null || (await isUp()));
    if (child.exitCode !== null)
      throw new Error(`nats-server exited with code ${String(child.exitCode)}: see ${this.folder}/log`);
  }

  /** Ends the server, even if it is suspended, and waits until it has exited. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.exitCode !== null) return;
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
    const tasks = `/proc/${String(pid)}/task`;
    const isStopped = (task: string): boolean =>
      readFileSync(join(tasks, task, 'stat'), 'utf8')
        .split(') ')
        .at(-1)
        ?.startsWith('T') ?? false;
    while (!readdirSync(tasks).every(isStopped));
  }

  async connect(t: Test, options: Partial<BusOptions> = {}): Promise<Bus> {
    const bus = await Bus.connect({ address: this.address, name: t.name, ...options });
    t.teardown(() => bus.drain());
    return bus;
  }

  async counts(): Promise<NatsCounts> {
    const [connz, subsz, jsz] = await Promise.all(['connz', 'subsz', 'jsz'].map((path) => this.#get(path)));
    if (connz === undefined || subsz === undefined || jsz === undefined) throw new Error('no figures');
    return {
      connections: connz['num_connections'] ?? NaN,
      subscriptions: subsz['num_subscriptions'] ?? NaN,
      consumers: jsz['consumers'] ?? NaN,
    };
  }

  /** Returns how many connections have ended since the server was started. */
  async closedConnections(): Promise<number> {
    return (await this.#get('connz?state=closed'))['total'] ?? NaN;
  }

  async #get(path: string): Promise<Record<string, number>> {
    const answer = await fetch(`${this.#monitorUrl}/${path}`, { signal: AbortSignal.timeout(2000) });
    return (await answer.json()) as Record<string, number>;
  }
}
