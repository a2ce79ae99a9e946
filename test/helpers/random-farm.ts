import { applyEvents } from '../../src/database/feed-events.js';
import { applyPage, markPageMissing, resolveMissingVersions } from '../../src/database/feed-pages.js';
import { logBuilds } from '../../src/database/builds.js';
import { upsertPackage, setQuarantined, skipPackage } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import {
  nextPendingBuilds,
  leaseBuilds,
  releaseLeases,
  requeueExpired,
  type PendingBuild,
} from '../../src/database/queue.js';
import { requeueFailures, retryBuilds } from '../../src/database/retries.js';
import { addTarget, fillSlice, removeTarget } from '../../src/database/targets.js';
import {
  deleteBuilds,
  deleteVersion,
  addReleases,
  skipVersion,
  yankVersion,
} from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/model/build.js';
import type { FailureFilter } from '../../src/protocols/retry.js';
import type { ChangeEvent } from '../../src/pypi/changelog.js';
import { foldEvents } from '../../src/pypi/fold.js';
import type { PackageName } from '../../src/wheels/names.js';
import { seededRandom } from './random.js';
import { someRelease, insertSlave } from './rows.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

export const LINUX = 'linux_x86_64';
export const ARM = 'linux_aarch64';

export const targetRow = (abi: string, platform = LINUX) => ({
  abi,
  platform,
  py_version_tag: abi,
  skip: null,
});

/** Returns the next builds for a target, from all priority classes. */
export async function nextBuilds(
  db: Database,
  abi: string,
  platform: string,
  count: number,
): Promise<readonly PendingBuild[]> {
  const order = { abi, platform, count, first: 'newest' as const };
  const builds: PendingBuild[] = [];
  for (const priority of [2, 1, 0]) builds.push(...(await nextPendingBuilds(db, { ...order, priority })));
  return builds;
}

let fileCounter = 0;
/** Returns an imported build with a wheel for each of these tags; without tags, a failed build. */
export const loggedBuild = (
  name: string,
  version: string,
  abi: string,
  platform: string,
  tags: readonly string[],
): LoggedBuild => ({
  lease: null,
  slave_id: null,
  package: name,
  version,
  abi,
  platform,
  status: tags.length > 0,
  failure_class: tags.length > 0 ? null : 'compiler',
  duration_s: 1,
  output: 'log',
  details: NO_DETAILS,
  files: tags.map((tag) => {
    const [pythonTag = '', abiTag = '', platformTag = ''] = tag.split('-');
    fileCounter += 1;
    const hash = fileCounter.toString(16).padStart(64, '0');
    // The build tag makes each filename unique.
    return [
      [
        `${name}-${version}-${fileCounter}-${tag}.whl`,
        10,
        hash,
        name,
        version,
        pythonTag,
        abiTag,
        platformTag,
        null,
        {},
        true,
      ],
      hash,
      null,
    ];
  }),
  served: [],
});

const WHEEL_TAGS = [
  'py3-none-any',
  `cp39-abi3-${LINUX}`,
  `cp311-cp311-${LINUX}`,
  `cp311-none-${ARM}`,
  `cp39-cp39-${LINUX}`,
  `cp313-cp313t-${LINUX}`,
  `pp39-pypy39_pp73-${LINUX}`,
  `py2.py3-none-${ARM}`,
];
const TARGETS: readonly (readonly [string, string])[] = [
  ['cp39', LINUX],
  ['cp311', LINUX],
  ['cp311', ARM],
  ['cp313t', LINUX],
  ['pypy39_pp73', LINUX],
  ['pypy310_pp73', ARM],
];
/** A filter that matches every failure. */
const ANY_FAILURE: FailureFilter = {
  package: null,
  version: null,
  classes: [],
  slave: null,
  since: null,
  until: null,
  abi: null,
  platform: null,
  text: null,
  regexp: false,
};
const SPECIFIERS = [null, '>=3.10', '<3.11', '>=3.9,!=3.11.*'];

/** One step of a random history. */
export interface RandomStep {
  readonly action: string;
  /** The seed of the step's random choices, so that they stay the same when earlier steps are left out. */
  readonly seed: number;
}

/** A farm with two packages of three versions each, and every action that can be applied to them. */
export class RandomFarm {
  readonly #db: Database;
  readonly #leases: { lease: number; version: string; package: string; abi: string; platform: string }[] = [];
  #slave = 0;
  #serial = 0;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Has to be called first. */
  async setUp(): Promise<void> {
    this.#slave = await insertSlave(this.#db);
  }

  async apply({ action, seed }: RandomStep): Promise<void> {
    const random = seededRandom(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    await this.#actions(pick)[action]?.();
  }

  static readonly actions = Object.keys(
    new RandomFarm(undefined as unknown as Database).#actions(<T>(list: readonly T[]) => list[0] as T),
  );

  #actions(pick: <T>(list: readonly T[]) => T): Readonly<Record<string, () => Promise<unknown>>> {
    const db = this.#db;
    const name = () => pick(['a', 'b']);
    const version = () => pick(['1.0', '2.0', '3.0']);
    const releases = () => ['1.0', '2.0', '3.0'].filter(() => pick([true, false])).map(randomRelease);
    const randomRelease = (releaseVersion: string) =>
      someRelease(releaseVersion, {
        requires_python: pick(SPECIFIERS),
        has_sdist: pick([true, true, false]),
        priority: pick([0, 1, 2]),
        yanked: pick([null, null, '']),
      });
    const nextSerial = () => (this.#serial += pick([0, 1, 1, 2]));
    return {
      'new version': () =>
        addReleases(db, name(), pick(['feed', 'feed', 'add', 'import'] as const), [randomRelease(version())]),
      'new package': () => {
        const added = { package: name(), description: null, aliases: [] };
        const origin = pick(['feed', 'add'] as const);
        return db.transaction((within) => upsertPackage(within, { ...added, origin }));
      },
      events: () => {
        const kinds = [
          'create',
          'release',
          'add file',
          'remove file',
          'remove release',
          'remove project',
        ] as const;
        const events = Array.from({ length: pick([1, 3, 6]) }, (): ChangeEvent => {
          const kind = pick([
            ...kinds,
            'release',
            'add file',
            'yank',
            'unyank',
            'quarantine',
            'clear',
          ] as const);
          const isProjectEvent =
            kind === 'create' || kind === 'remove project' || (kind.length > 6 && pick([true, false]));
          const withoutVersion =
            isProjectEvent && !['release', 'add file', 'remove file', 'remove release'].includes(kind);
          const file = kind.endsWith('file') ? { name: 'x', sdist: pick([true, true, false]) } : null;
          return {
            serial: nextSerial(),
            time: 1e9,
            name: name() as PackageName,
            version: withoutVersion ? null : version(),
            kind,
            file,
          };
        });
        const { projects, versions } = foldEvents(events);
        return applyEvents(db, { fence: 0, position: [0, 0, 0, 0], projects, versions });
      },
      page: () =>
        applyPage(db, {
          fence: 0,
          package: name(),
          serial: pick([0, nextSerial(), nextSerial() + 3]),
          etag: null,
          description: null,
          status: pick(['active', 'active', 'quarantined', 'archived']),
          releases: releases(),
          removal_delay_s: pick([0, 3600]),
        }),
      'missing page': () => markPageMissing(db, 0, name(), pick([true, false])),
      list: () =>
        resolveMissingVersions(db, {
          fence: 0,
          package: name(),
          serial: nextSerial() + 5,
          versions: ['1.0', '2.0', '3.0'].filter(() => pick([true, false])),
        }),
      'add target': () => {
        const [abi, platform] = pick(TARGETS);
        return addTarget(db, { ...targetRow(abi, platform), skip: pick([null, null, 'why']) }, pick([0, 3]));
      },
      'remove target': () => {
        const [abi, platform] = pick(TARGETS);
        return pick([0, 0, 1]) === 1 ? removeTarget(db, abi, platform, pick([0, 3])) : Promise.resolve();
      },
      'fill a slice': () => fillSlice(db, pick([1, 2, 3])),
      'log a build': () => {
        const [abi, platform] = pick(TARGETS);
        return logBuilds(db, [
          loggedBuild(
            name(),
            version(),
            abi,
            platform,
            pick([[], [pick(WHEEL_TAGS)], [pick(WHEEL_TAGS), pick(WHEEL_TAGS)]]),
          ),
        ]);
      },
      'skip version': () => skipVersion(db, name(), version(), pick([null, 'why'])),
      'skip package': () => skipPackage(db, name(), pick([null, null, 'why'])),
      yank: () => yankVersion(db, name(), version(), pick([null, '', 'why'])),
      quarantine: () => setQuarantined(db, name(), pick([null, version()]), pick([true, false])),
      'delete builds': () => deleteBuilds(db, name(), version()),
      'delete version': () =>
        pick([0, 0, 1]) === 1 ? deleteVersion(db, name(), version()) : Promise.resolve(),
      take: async () => {
        const [abi, platform] = pick(TARGETS);
        for (const build of await nextBuilds(db, abi, platform, 2)) {
          const request = { ...build, slaveId: this.#slave, leaseS: pick([60, -1]) };
          for (const { lease, version: leasedVersion, package: packageName } of await leaseBuilds(
            db,
            [request],
            1,
          ))
            this.#leases.push({ lease, version: leasedVersion, package: packageName, abi, platform });
        }
      },
      'hand in': async () => {
        const heldLease = this.#leases.shift();
        if (!heldLease) return;
        const { lease, package: packageName, version: leasedVersion, abi, platform } = heldLease;
        const leasedBuild = loggedBuild(
          packageName,
          leasedVersion,
          abi,
          platform,
          pick([[], [pick(WHEEL_TAGS)]]),
        );
        const existingFiles = await db.query<{ filename: string }>(
          `select filename from files join versions using (version_id) join packages using (package_id)
           where package = $1 and version = $2 order by uploaded`,
          [packageName, leasedVersion],
        );
        // Other builds have published the files that this one would publish.
        const served =
          leasedBuild.status && pick([true, false]) ? existingFiles.map(({ filename }) => filename) : [];
        const failure = leasedBuild.status
          ? {}
          : { failure_class: pick(['compiler', 'network', 'memory', 'no-sdist']) };
        // A failed build is held back for 60 s, or can be given out again after the next step that requeues expired
        // ones.
        const result = { ...leasedBuild, ...failure, served, lease, slave_id: this.#slave };
        await logBuilds(db, [result], pick([60, -60]));
      },
      'release lease': async () => {
        const heldLease = this.#leases.shift();
        if (heldLease) await releaseLeases(db, [[heldLease.lease, this.#slave]], pick([0, 60]));
      },
      expire: () => requeueExpired(db),
      retry: () => {
        const filterOverrides = {
          package: pick([null, null, name()]),
          version: pick([null, null, version()]),
          abi: pick([null, null, 'cp39', 'cp311']),
          classes: pick([[], ['compiler'], ['network', 'no-sdist']]),
        };
        return retryBuilds(db, {
          filter: { ...ANY_FAILURE, ...filterOverrides },
          dry_run: false,
          after: 0,
          upto: null,
        });
      },
      'requeue unconfirmed': async () => {
        const failures = await db.query<{
          build_id: number;
          version_id: number;
          target_id: number;
          package: string;
        }>(
          `select build_id, version_id, target_id, package
           from builds b join versions using (version_id) join packages using (package_id)
           where b.slave_id is not null and not b.status and not b.transient and b.requeue_reason is null
           order by b.build_id`,
        );
        await db.transaction((within) => requeueFailures(within, failures, 'unconfirmed'));
      },
    };
  }
}
