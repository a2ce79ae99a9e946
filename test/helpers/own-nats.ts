import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { freePort } from '../../src/servers/ports.js';
import { Bus, type BusOptions } from '../../src/bus/bus.js';
import { ControlledNats } from './controlled-nats.js';
import { natsBinary } from './nats.js';

/** A nats-server with JetStream for one test. */
export class TestNats extends ControlledNats {
  readonly address: string;

  private constructor(binary: string, folder: string, port: number, monitorPort: number) {
    const files = {
      config: join(folder, 'nats.conf'),
      log: join(folder, 'log'),
      store: join(folder, 'store'),
    };
    super({ binary, ...files }, monitorPort);
    this.address = `nats://127.0.0.1:${port}`;
    // The server reserves the maximum size of every bucket, however small the disk is.
    const config = `listen: 127.0.0.1:${port}\nhttp: 127.0.0.1:${monitorPort}\njetstream { store_dir: ${JSON.stringify(files.store)}, max_file_store: 1TB }\n`;
    writeFileSync(files.config, config);
  }

  /** Starts a server; with `diskMb` its store is a file system of that size, which needs root. */
  static async start(t: Test, { diskMb }: { readonly diskMb?: number } = {}): Promise<TestNats> {
    const folder = mkdtempSync(join(tmpdir(), 'piw-nats-'));
    const binary = await natsBinary(t);
    const create = async () => new TestNats(binary, folder, await freePort(), await freePort());
    let nats = await create();
    mkdirSync(nats.store);
    if (diskMb !== undefined)
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskMb}m`, 'tmpfs', nats.store]);
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

  async connect(t: Test, options: Partial<BusOptions> = {}): Promise<Bus> {
    const bus = await Bus.connect({ address: this.address, name: t.name, ...options });
    t.teardown(() => bus.drain());
    return bus;
  }

  /** Returns how many connections have ended since the server was started. */
  closedConnections(): Promise<number> {
    return this.counter('connz?state=closed', 'total');
  }
}
