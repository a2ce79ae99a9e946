/**
 * Runs a farm and kills each of its processes in turn with SIGKILL: each actor, then nats-server, then
 * PostgreSQL. All must come back, the builds must finish, and nothing may be listed twice.
 *
 *     node dist/test/chaos/kill-each.js [PACKAGE…]
 *
 * Prints a line for each kill and its recovery; exits with 1 if any check fails.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chmodSync } from 'node:fs';
import { allProcesses } from '../helpers/proc.js';
import { deferred } from '../../src/concurrency/deferred.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const args = process.argv.slice(2);
const packages =
  args.length > 0
    ? args
    : ['six', 'markupsafe', 'wrapt', 'simplejson', 'idna', 'certifi', 'charset-normalizer', 'toml'];
const LIMIT_MS = 15 * 60_000;

const folder = await mkdtemp(join(tmpdir(), 'piw-chaos-'));
chmodSync(folder, 0o755);
const output = join(folder, 'www');
const farm = spawn(
  process.execPath,
  [
    join(ROOT, 'dist/run/bin.js'),
    'farm',
    '--json',
    '--once',
    '--port',
    '0',
    '--slaves',
    '2',
    '--data-dir',
    join(folder, 'data'),
    '-o',
    output,
    ...packages,
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
const ended = new Promise<number | null>((resolve) => farm.once('exit', resolve));
const published: string[] = [];
const firstBuild = deferred();
const events = createInterface({ input: farm.stdout });
events.on('line', (line) => {
  const event = JSON.parse(line) as { event: string; text?: string; filenames?: string[]; package?: string };
  if (event.event === 'building') firstBuild.resolve();
  if (event.event === 'published') published.push(...(event.filenames ?? []));
  if (event.event === 'trouble' || event.event === 'not-built') console.log(`  ${event.text ?? line}`);
});

/** Returns the process ids of this farm, by the name of the process. */
function farmProcesses(): Map<string, number[]> {
  const pidsByName = new Map<string, number[]>();
  const data = join(folder, 'data');
  for (const { pid, words, environment, task } of allProcesses()) {
    const belongsToFarm = words.some((word) => word.startsWith(data)) || environment.includes(data);
    if (!belongsToFarm) continue;
    const server = ['nats-server', 'postgres'].find((name) => (words[0] ?? '').endsWith(`/${name}`));
    const name = task ?? server;
    if (name !== undefined) pidsByName.set(name, [...(pidsByName.get(name) ?? []), pid]);
  }
  return pidsByName;
}

let faults = 0;
await Promise.race([firstBuild.promise, ended]);
const victims = [...farmProcesses().keys()].sort(
  (a, b) => Number(['nats-server', 'postgres'].includes(a)) - Number(['nats-server', 'postgres'].includes(b)),
);
console.log(`killing ${victims.join(', ')}`);
for (const name of victims) {
  const before = farmProcesses().get(name) ?? [];
  const began = performance.now();
  for (const pid of before) process.kill(pid, 'SIGKILL');
  let after: number[] = [];
  while (performance.now() - began < 60_000) {
    after = (farmProcesses().get(name) ?? []).filter((pid) => !before.includes(pid));
    if (after.length >= before.length || farm.exitCode !== null) break;
    await sleep(50);
  }
  const recovered = after.length >= before.length;
  console.log(
    `${name.padEnd(16)} ${before.length} killed, ${recovered ? `back after ${((performance.now() - began) / 1000).toFixed(1)} s` : 'NOT BACK'}`,
  );
  if (!recovered && farm.exitCode === null) faults += 1;
  await sleep(1500);
}
const code = await Promise.race([ended, sleep(LIMIT_MS, 'late' as const, { ref: false })]);
if (code === 'late') farm.kill('SIGTERM');
console.log(`the farm exited with ${String(code)}; published: ${published.join(', ')}`);
if (code !== 0) faults += 1;
for (const name of packages.map((requirement) => requirement.split('==')[0] ?? requirement)) {
  const page = await readFile(join(output, 'simple', name, 'index.v1_json'), 'utf8').catch(
    () => '{"files":[]}',
  );
  const files = (JSON.parse(page) as { files: { filename: string }[] }).files.map(({ filename }) => filename);
  const wheels = readdirSync(join(output, 'simple', name)).filter((file) => file.endsWith('.whl'));
  const passed = files.length > 0 && new Set(files).size === files.length && wheels.length === files.length;
  console.log(`${name.padEnd(20)} ${files.join(', ')}${passed ? '' : '  FAILED'}`);
  if (!passed) faults += 1;
}
await rm(folder, { recursive: true, force: true });
process.exitCode = faults === 0 ? 0 : 1;
