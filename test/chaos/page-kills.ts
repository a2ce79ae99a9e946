/**
 * Makes a storm of changes while Scribes and Secretaries are killed with SIGKILL at random. Afterwards the
 * site must equal the database: it is compared, file by file, with one that is written from scratch. So must
 * a mirror that has followed the serials all the while.
 *
 *     node dist/test/chaos/page-kills.js [--updates N] [--packages N] [--seed N]
 *
 * Prints how many processes were killed, and how long after the last change the site was complete; exits with
 * 1 if any check fails.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ProtocolClient } from '../../src/actor/client.js';
import { Bus } from '../../src/bus/bus.js';
import { SETTINGS_ENV } from '../../src/config.js';
import { loadSettings } from '../../src/settings/load.js';
import { migrate } from '../../src/database/migrations.js';
import {
  allPackages,
  deletePackage,
  offeredPackages,
  setQuarantined,
  skipPackage,
} from '../../src/database/packages.js';
import { listedPackages } from '../../src/database/pages.js';
import { Database } from '../../src/database/pool.js';
import { packageFiles, projectDetails } from '../../src/database/projects.js';
import { addTarget } from '../../src/database/targets.js';
import { deleteBuilds, addReleases, yankVersion } from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/model/build.js';
import { oracle } from '../../src/protocols/oracle.js';
import { secretary } from '../../src/protocols/web.js';
import { SimpleIndexWriter } from '../../src/site/simple/index-writer.js';
import { Site } from '../../src/site/site.js';
import { startServers } from '../helpers/servers.js';
import { PLATFORM, someRelease } from '../helpers/rows.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { seededRandom } from '../helpers/random.js';

const { values } = parseArgs({
  options: {
    updates: { type: 'string', default: '10000' },
    packages: { type: 'string', default: '150' },
    seed: { type: 'string', default: '1' },
  },
});
const UPDATES = Number(values.updates);
const PACKAGES = Number(values.packages);
const TASKS = ['the-oracle', 'the-scribe', 'the-scribe', 'the-secretary', 'the-secretary'];
const VICTIM_INDEXES = TASKS.map((task, place) => (task === 'the-oracle' ? -1 : place)).filter(
  (place) => place >= 0,
);

/** The same seed makes the same storm. */
const random = seededRandom(Number(values.seed));
const randomBelow = (n: number): number => Math.floor(random() * n);

const folder = mkdtempSync(join(tmpdir(), 'piw-chaos-'));
chmodSync(folder, 0o755);
const output = join(folder, 'www');
mkdirSync(output);
const servers = await startServers(folder, console.log);
const admin = await Database.open(servers.dsn, 'chaos');
await admin.query('create database chaos');
const url = new URL(servers.dsn);
url.pathname = '/chaos';
await migrate(url.href, { user: decodeURIComponent(url.username) });
const db = await Database.open(url.href, 'chaos');
for (const abi of ['cp311', 'cp312'])
  await addTarget(db, { abi, platform: PLATFORM, py_version_tag: abi, skip: null });

const settings = loadSettings(
  { nats: servers.nats, dsn: url.href, 'output-path': output, 'dev-mode': 'true', prefix: 'chaos' },
  '/dev/null',
);
/** Whether the storm is over, so that processes are no longer restarted; and whether they are killed. */
const stormState = { over: false, killing: true };
let deaths = 0;
const children: ChildProcess[] = [];
function start(index: number): void {
  const child = fork(
    fileURLToPath(new URL('../../run/actor-process.js', import.meta.url)),
    [TASKS[index] ?? '', '-q'],
    {
      env: { ...process.env, [SETTINGS_ENV]: JSON.stringify(settings) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    },
  );
  children[index] = child;
  child.once('exit', (code) => {
    if (stormState.over) return;
    if (code !== null && code !== 0) console.log(`${TASKS[index] ?? ''} exited by itself with ${code}`);
    setTimeout(() => {
      if (!stormState.over) start(index);
    }, 200);
  });
}
TASKS.forEach((_, place) => {
  start(place);
});

const bus = await Bus.connect({ address: servers.nats, name: 'chaos', prefix: 'chaos' });
const client = new ProtocolClient(bus, secretary, undefined, { timeoutMs: 60_000, patienceMs: 300_000 });
const database = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 60_000, patienceMs: 300_000 });
const packageName = (n: number): string => `package-${n}`;
const randomVersion = (): string => `1.${randomBelow(6)}`;
let fileCount = 0;

/**
 * Returns a build that succeeded or failed, as an import: pages can be written even if its files don't exist.
 */
function randomBuild(name: string): LoggedBuild {
  const version = randomVersion();
  const succeeds = random() < 0.7;
  fileCount += 1;
  const filename = `${name.replace('-', '_')}-${version}-${fileCount}-cp311-cp311-${PLATFORM}.whl`;
  return {
    lease: null,
    slave_id: null,
    package: name,
    version,
    abi: 'cp311',
    platform: PLATFORM,
    status: succeeds,
    failure_class: succeeds ? null : 'compiler',
    duration_s: 1,
    served: [],
    output: `build ${fileCount} of ${name}\nerror: something\n`,
    details: NO_DETAILS,
    files: succeeds
      ? [
          [
            [
              filename,
              1000 + fileCount,
              'a'.repeat(64),
              'x',
              version,
              'cp311',
              'cp311',
              PLATFORM,
              null,
              {},
              true,
            ],
            'b'.repeat(64),
            null,
          ],
        ]
      : [],
  };
}

async function randomUpdate(): Promise<void> {
  const name = packageName(randomBelow(PACKAGES));
  const roll = random();
  if (roll < 0.6) {
    await addReleases(
      db,
      name,
      'feed',
      Array.from({ length: 6 }, (_, n) => someRelease(`1.${n}`)),
    );
    // Through the Oracle, which hints at the page.
    await database.request('LOGBUILD', { builds: [randomBuild(name)] });
  } else if (roll < 0.75) await yankVersion(db, name, randomVersion(), random() < 0.5 ? null : 'broken');
  else if (roll < 0.8) await setQuarantined(db, name, null, random() < 0.5);
  else if (roll < 0.85) await skipPackage(db, name, random() < 0.5 ? null : 'not here');
  else if (roll < 0.95) {
    const version = randomVersion();
    await deleteBuilds(db, name, version);
    // As in an administrator's removal, which removes the files once this is answered.
    pendingRequests.add(client.request('DELVER', { package: name, version }));
  } else {
    await deletePackage(db, name);
    pendingRequests.add(client.request('DELPKG', { package: name }));
  }
}

const pendingRequests = new Set<Promise<unknown>>();
await client.request('SEARCH', {});
console.log(`${UPDATES} changes of ${PACKAGES} packages`);
const killer = (async () => {
  for (; stormState.killing; deaths += 1) {
    children[VICTIM_INDEXES[randomBelow(VICTIM_INDEXES.length)] ?? 0]?.kill('SIGKILL');
    await sleep(200 + randomBelow(1500));
  }
})();
let faults = 0;
const reportFault = (text: string): void => {
  faults += 1;
  if (faults <= 30) console.log(`  ${text}`);
};

/** A mirror that follows the serials: the page of each project, and the last serial. */
const mirror = { serial: -1, projects: new Map<string, string>(), rootsRead: 0, pages: 0 };

interface SimpleRoot {
  readonly meta: { readonly '_last-serial': number };
  readonly projects: readonly { readonly name: string; readonly '_last-serial': number }[];
}
const read = (...path: string[]): string => readFileSync(join(output, 'simple', ...path), 'utf8');
/** Returns a page without its serial. */
const withoutSerial = (page: string): string => page.replace(/^.*?"name":/, '');

/** Reads the root, and each project with a serial higher than the last root's. */
function pollMirror(): void {
  let root: SimpleRoot;
  try {
    root = JSON.parse(read('index.v1_json')) as SimpleRoot;
  } catch {
    // The first root has not been written yet.
    return;
  }
  const rootSerial = root.meta['_last-serial'];
  if (rootSerial < mirror.serial)
    reportFault(`the root's serial went back from ${mirror.serial} to ${rootSerial}`);
  const listedNames = new Set<string>();
  for (const { name, '_last-serial': serial } of root.projects) {
    listedNames.add(name);
    if (serial > rootSerial) reportFault(`the root lists ${name} with a higher serial than its own`);
    if (serial <= mirror.serial && mirror.projects.has(name)) continue;
    try {
      const page = read(name, 'index.v1_json');
      const pageSerial = Number(/"_last-serial":(\d+)/.exec(page)?.[1]);
      if (!(pageSerial >= serial))
        reportFault(`${name} has serial ${pageSerial}, but the root lists it with ${serial}`);
      mirror.projects.set(name, withoutSerial(page));
      mirror.pages += 1;
    } catch {
      // It was removed since the root was read, which the next root will say.
      mirror.projects.delete(name);
    }
  }
  for (const name of mirror.projects.keys()) if (!listedNames.has(name)) mirror.projects.delete(name);
  mirror.serial = rootSerial;
  mirror.rootsRead += 1;
}

const mirroring = (async () => {
  while (stormState.killing) {
    pollMirror();
    await sleep(100 + Math.floor(Math.random() * 200));
  }
})();
const began = performance.now();
for (let n = 0; n < UPDATES; n += 1) await randomUpdate();
const stormEnd = performance.now();
console.log(
  `over in ${((stormEnd - began) / 1000).toFixed(0)} s, with ${deaths} kills; killing continues for 10 s`,
);
await sleep(10_000);
const deathsInStorm = deaths;

/** Returns whether no page is due, and the root agrees with the database. */
async function isSettled(): Promise<boolean> {
  const [row] = await db.query<{ due: number }>('select count(*) as due from pages_backlog');
  if (row?.due !== 0) return false;
  const listed = (await listedPackages(db, { after: '', limit: 100_000 })).map(([name]) => name);
  const root = JSON.parse(readFileSync(join(output, 'simple/index.v1_json'), 'utf8')) as {
    projects: { name: string }[];
  };
  return JSON.stringify(listed) === JSON.stringify(root.projects.map(({ name }) => name));
}

/** Stops the killing, and waits until the site is complete. */
async function waitUntilSettled(): Promise<void> {
  stormState.killing = false;
  await killer;
  await mirroring;
  const end = performance.now() + 600_000;
  while (!(await isSettled())) {
    if (performance.now() > end) throw new Error('the site did not settle within ten minutes');
    await sleep(250);
  }
  await Promise.all(pendingRequests);
}

/** Returns every page below a folder, without the compressed copies. */
function pagesIn(root: string): Map<string, string> {
  const pages = new Map<string, string>();
  for (const top of ['simple', 'project']) {
    for (const entry of readdirSync(join(root, top), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isDirectory() || entry.name.endsWith('.gz')) continue;
      if (entry.name.startsWith('.tmp-')) continue;
      // Serials differ between the two sites, and are no difference of contents.
      pages.set(relative(root, path), readFileSync(path, 'utf8').replace(/"_(last-)?serial":\d+/g, ''));
    }
  }
  return pages;
}

async function compareSites(): Promise<void> {
  const freshOutput = join(folder, 'fresh');
  const index = new SimpleIndexWriter(freshOutput);
  const site = new Site({ outputPath: freshOutput, publicUrl: settings['public-url'] });
  mkdirSync(freshOutput);
  index.setUp();
  site.setUp();
  for (const name of await allPackages(db)) {
    const packagePage = await packageFiles(db, name, false);
    const page = {
      name,
      status: packagePage.status,
      versions: packagePage.versions,
      files: packagePage.files,
    };
    const hadPage = existsSync(join(output, 'simple', name));
    if (packagePage.files.length > 0 || (packagePage.status === 'quarantined' && hadPage))
      index.write(page, 1);
    const projectPage = await projectDetails(db, name);
    if (projectPage) site.writeProject(projectPage, 1);
  }
  const offered = await offeredPackages(db, { after: '', limit: 100_000 }, false);
  await index.writeRoot(
    (async function* () {
      yield await Promise.resolve(offered.map((name) => [name, 1] as const));
    })(),
    1,
  );
  const expected = pagesIn(freshOutput);
  const actual = pagesIn(output);
  console.log(`comparing ${expected.size} pages of ${offered.length} packages with files`);
  for (const [path, text] of expected)
    if (!actual.has(path)) reportFault(`${path} is missing`);
    else if (actual.get(path) !== text) reportFault(`${path} is outdated`);
  for (const path of actual.keys()) if (!expected.has(path)) reportFault(`${path} should not exist`);
  pollMirror();
  for (const name of offered)
    if (mirror.projects.get(name) !== withoutSerial(read(name, 'index.v1_json')))
      reportFault(`the mirror has a different page of ${name}`);
  if (mirror.projects.size !== offered.length)
    reportFault(`the mirror has ${mirror.projects.size} of ${offered.length} projects`);
  console.log(`the mirror has read ${mirror.rootsRead} roots and ${mirror.pages} pages`);
  const builds = await db.query<{ build_id: number }>('select build_id from builds');
  for (const { build_id: id } of builds) {
    const digits = String(id).padStart(10, '0');
    if (!existsSync(join(output, `logs/${digits.slice(0, 4)}/${digits.slice(4)}.txt.gz`)))
      reportFault(`the log of build ${id} is missing`);
  }
  console.log(`${builds.length} logs`);
}

try {
  await waitUntilSettled();
  console.log(
    `${deathsInStorm} kills; the site was complete ${((performance.now() - stormEnd) / 1000).toFixed(0)} s after the last change`,
  );
  await compareSites();
} catch (error) {
  reportFault(error instanceof Error ? (error.stack ?? error.message) : String(error));
} finally {
  stormState.over = true;
  for (const child of children) child.kill('SIGKILL');
  await bus.drain();
  await db.close();
  await admin.close();
  await servers.stop();
  rmSync(folder, { recursive: true, force: true });
}
console.log(faults === 0 ? 'the site equals the database' : `${faults} faults`);
process.exitCode = faults === 0 && deathsInStorm > 0 ? 0 : 1;
