import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { DataFolder } from '../../src/servers/data-folder.js';
import { findNatsServer, startNats, type RunningNats } from '../../src/servers/nats-server.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { until } from './bus.js';

/** config/nats, as it is shipped. */
const SAMPLE_CONFIG_DIR = fileURLToPath(new URL('../../../config/nats/', import.meta.url));

function tempDataFolder(t: Test): DataFolder {
  const path = mkdtempSync(join(tmpdir(), 'piw-trust-'));
  const folder = DataFolder.open(join(path, 'data'), undefined);
  t.teardown(() => {
    folder.close();
    rmSync(path, { recursive: true, force: true });
  });
  return folder;
}

const natsServices = async (folder: DataFolder) => ({
  folder,
  python: await findPython(undefined, unprivilegedAccount()),
  log: () => undefined,
  onFailure: () => undefined,
  signal: new AbortController().signal,
});

/** Returns the path of the nats-server that a farm would run. */
export async function natsBinary(t: Test): Promise<string> {
  return await findNatsServer(await natsServices(tempDataFolder(t)));
}

/** Starts a private server as `piw farm` does, with these slaves as users; it ends with the test. */
export async function startFarmNats(
  t: Test,
  slaves: readonly string[],
): Promise<RunningNats & { readonly folder: DataFolder; readonly log: () => string }> {
  const folder = tempDataFolder(t);
  const nats = await startNats({ ...(await natsServices(folder)), prefix: 'piw', slaves });
  t.teardown(() => nats.process.stop());
  return { ...nats, folder, log: () => readFileSync(folder.join('logs', 'nats.log'), 'utf8') };
}

interface SampleServer {
  readonly folder: string;
  readonly pid: number;
  readonly log: () => string;
  /** Ends the server, and waits until it has exited. */
  stop(): Promise<void>;
}

/** The passwords that the sample configurations take from the server's environment. */
export const SAMPLE_PASSWORDS = { PIW_MASTER_PASSWORD: 'mastersecret', PIW_ADMIN_PASSWORD: 'adminsecret' };

/**
 * Starts a server with a sample configuration of config/nats, in a folder of its own. `substitutionsFor` returns the
 * texts to replace in it, which an administrator would have to replace as well: addresses and folders.
 */
export async function startSampleServer(
  t: Test,
  sample: string,
  substitutionsFor: (folder: string) => Readonly<Record<string, string>>,
  env: NodeJS.ProcessEnv = {},
  configDir = SAMPLE_CONFIG_DIR,
): Promise<SampleServer> {
  const binary = await natsBinary(t);
  const folder = mkdtempSync(join(tmpdir(), 'piw-nats-'));
  cpSync(configDir, folder, { recursive: true });
  for (const file of readdirSync(folder)) {
    const contents = readFileSync(join(folder, file), 'utf8');
    const substituted = Object.entries(substitutionsFor(folder)).reduce(
      (text, [from, to]) => text.replaceAll(from, to),
      contents,
    );
    writeFileSync(join(folder, file), substituted);
  }
  const config = join(folder, sample);
  const environment = { ...process.env, ...SAMPLE_PASSWORDS, ...env };
  const check = spawn(binary, ['-t', '-c', config], { env: environment, stdio: 'ignore' });
  const exitCode = await new Promise((resolve) => check.once('close', resolve));
  if (exitCode !== 0) throw new Error(`nats-server -t rejects ${sample}`);
  const logFile = join(folder, 'log');
  const logFd = openSync(logFile, 'a');
  const child = spawn(binary, ['-c', config], { env: environment, stdio: ['ignore', logFd, logFd] });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => {
      resolve();
    });
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  t.teardown(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const log = () => readFileSync(logFile, 'utf8');
  await until(() => log().includes('Server is ready') || child.exitCode !== null);
  if (child.exitCode !== null) throw new Error(`nats-server with ${sample} has exited: ${log()}`);
  return { folder, pid: child.pid ?? 0, log, stop };
}
