/**
 * Starts a master that watches real packages of the index that pip is configured with. Then compares its database with
 * what pip's own code reads from that index: the versions, their order by PEP 440, and which are yanked; and compares the
 * queue with the view that defines it.
 *
 *     node dist/test/pypi/real-index.js [PACKAGE…]
 *
 * Prints a line for each package; exits with 1 if anything differs, and with 5 if the index can't be read.
 */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython, readPipSettings } from '../../src/servers/python.js';
import { sortKey } from '../../src/wheels/versions.js';
import { withBenchEnvironment } from '../bench/stage.js';
import { PLATFORM } from '../helpers/rows.js';

const DEFAULT_PACKAGES = 'six markupsafe wrapt requests numpy django attrs pyyaml click urllib3'.split(' ');
const names = process.argv.length > 2 ? process.argv.slice(2) : DEFAULT_PACKAGES;
const LIMIT_S = 120;

/** [version, yanked, has an sdist] of each release that has a file with a valid name, in order. */
type ReleaseFacts = readonly (readonly [version: string, yanked: boolean, sdist: boolean])[];

/** Reads an index with pip's own copies of its libraries. */
const READER = `
import json, sys
from pip._internal.index.collector import _get_index_content, parse_links
from pip._internal.models.link import Link
from pip._internal.network.session import PipSession
from pip._vendor.packaging.utils import parse_sdist_filename, parse_wheel_filename
session, index, expected = PipSession(), sys.argv[1].rstrip('/'), {}
for name in sys.argv[2:]:
    versions = {}
    for link in parse_links(_get_index_content(Link(f'{index}/{name}/'), session=session)):
        sdist = not link.filename.endswith('.whl')
        try:
            version = parse_sdist_filename(link.filename)[1] if sdist else parse_wheel_filename(link.filename)[1]
        except Exception:
            continue
        versions.setdefault(version, []).append((link.yanked_reason is not None, sdist))
    expected[name] = [(str(v), all(y for y, _ in versions[v]), any(s for _, s in versions[v])) for v in sorted(versions)]
print(json.dumps(expected))
`;

const account = unprivilegedAccount();
const python = await findPython(undefined, account);
const { indexUrl, env } = await readPipSettings(python);
const expectedReleases = await promisify(execFile)(python.path, ['-c', READER, indexUrl, ...names], {
  env: { ...process.env, ...env },
  maxBuffer: 64 * 1024 * 1024,
}).then(
  ({ stdout }) => JSON.parse(stdout) as Readonly<Record<string, ReleaseFacts>>,
  (error: unknown) => {
    process.stderr.write(`the index can't be read: ${String(error).split('\n').slice(-2).join(' ')}\n`);
    process.exit(5);
  },
);

process.exitCode = await withBenchEnvironment(
  () => undefined,
  async ({ dsn, startMaster }) => {
    const db = await Database.open(dsn, 'real');
    await addTarget(db, { abi: 'cp311', platform: PLATFORM, py_version_tag: 'cp311', skip: null });
    startMaster({ 'pypi-simple': indexUrl, watch: names, 'watch-only': true });
    const countKnown = async () => {
      const [row] = await db.query<{ known: number }>(
        'select count(distinct package_id) as known from versions',
      );
      return row?.known ?? 0;
    };
    for (let second = 0; second < LIMIT_S && (await countKnown()) < names.length; second += 1)
      await sleep(1000);
    let differenceCount = 0;
    for (const name of names) {
      const ours = await db.query<{ version: string; yanked: boolean; has_sdist: boolean }>(
        `select version, yanked is not null as yanked, has_sdist from versions join packages using (package_id)
         where package = $1 order by sort_key`,
        [name],
      );
      const theirs = expectedReleases[name] ?? [];
      const differences = differ(
        ours.map((row) => [row.version, row.yanked, row.has_sdist] as const),
        theirs,
      );
      differenceCount += differences.length;
      const yanked = theirs.filter(([, isYanked]) => isYanked).length;
      console.log(
        `${name}: ${theirs.length} versions, ${yanked} yanked, newest ${theirs.at(-1)?.[0] ?? 'none'}: ` +
          (differences.length === 0 ? 'the same' : differences.slice(0, 5).join('; ')),
      );
    }
    const queue = await db.query('select from queue');
    const queueMismatches = await db.query(
      `(select version_id, target_id from queue except select version_id, target_id from builds_pending)
       union all (select version_id, target_id from builds_pending except select version_id, target_id from queue)`,
    );
    console.log(`queue: ${queue.length} builds, ${queueMismatches.length} differ from the view`);
    await db.close();
    return differenceCount + queueMismatches.length === 0 ? 0 : 1;
  },
);

/** Returns the differences in words. Compares normalised versions: 1.8c1 is 1.8rc1. */
function differ(ours: ReleaseFacts, theirs: ReleaseFacts): readonly string[] {
  const oursByKey = new Map(ours.map((row) => [sortKey(row[0]), row]));
  const theirsByKey = new Map(theirs.map((row) => [sortKey(row[0]), row]));
  const differences: string[] = [];
  for (const [key, [version, yanked, sdist]] of theirsByKey) {
    const row = oursByKey.get(key);
    if (!row) differences.push(`${version} is missing`);
    else {
      if (row[1] !== yanked) differences.push(`${version} is ${yanked ? '' : 'not '}yanked`);
      if (row[2] !== sdist) differences.push(`${version} has ${sdist ? 'an' : 'no'} sdist`);
    }
  }
  for (const [key, [version]] of oursByKey)
    if (!theirsByKey.has(key)) differences.push(`${version} is only in our database`);
  const sharedKeys = (map: ReadonlyMap<string, unknown>, other: ReadonlyMap<string, unknown>) =>
    [...map.keys()].filter((key) => other.has(key)).join(' ');
  if (sharedKeys(oursByKey, theirsByKey) !== sharedKeys(theirsByKey, oursByKey))
    differences.push('the order differs');
  return differences;
}
