import { applyEvents } from '../../src/database/feed-events.js';
import { applyPage, missingPage, settleVersions } from '../../src/database/feed-pages.js';
import { logBuilds } from '../../src/database/builds.js';
import { newPackage, quarantine, skipPackage } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import { front, grant, release, returnExpired, type Waiting } from '../../src/database/queue.js';
import { putBack, retryBuilds } from '../../src/database/retries.js';
import { addTarget, fillSlice, removeTarget } from '../../src/database/targets.js';
import {
  deleteBuilds,
  deleteVersion,
  newVersions,
  skipVersion,
  yankVersion,
} from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/protocols/oracle.js';
import type { FailureFilter } from '../../src/protocols/retry.js';
import type { ChangeEvent } from '../../src/pypi/changelog.js';
import { fold } from '../../src/pypi/fold.js';
import type { PackageName } from '../../src/wheels/names.js';
import { chance } from './fake-pypi/chance.js';
import { someRelease, someSlave } from './rows.js';
import { NO_DETAILS } from '../../src/states/build-details.js';

export const LINUX = 'linux_x86_64';
export const ARM = 'linux_aarch64';

export const target = (abi: string, platform = LINUX) => ({ abi, platform, py_version_tag: abi, skip: null });

/** What comes next for a target, of all priorities. */
export async function next(
  db: Database,
  abi: string,
  platform: string,
  count: number,
): Promise<readonly Waiting[]> {
  const order = { abi, platform, count, first: 'newest' as const };
  const found: Waiting[] = [];
  for (const priority of [2, 1, 0]) found.push(...(await front(db, { ...order, priority })));
  return found;
}

let serial = 0;
/** A build of an import, with a wheel of each of these tags: without any it failed. */
export const built = (
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
    const [py = '', its = '', on = ''] = tag.split('-');
    serial += 1;
    const hash = serial.toString(16).padStart(64, '0');
    // A build tag makes each name its own.
    return [
      [
        `${name}-${version}-${String(serial)}-${tag}.whl`,
        10,
        hash,
        name,
        version,
        py,
        its,
        on,
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

const TAGS = [
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
/** Every failure there is. */
export const ANY_FAILURE: FailureFilter = {
  ...{ package: null, version: null, classes: [], slave: null, since: null, until: null },
  ...{ abi: null, platform: null, text: null, regexp: false },
};
const SPECIFIERS = [null, '>=3.10', '<3.11', '>=3.9,!=3.11.*'];

/** One thing that is done to a farm. */
export interface Step {
  readonly action: string;
  /** Of what is drawn for it, so that it is the same when others before it are left out. */
  readonly seed: number;
}

/** Two packages of three versions, and all that can be done to what a farm has of them. */
export class RandomFarm {
  readonly #db: Database;
  readonly #leases: { lease: number; version: string; package: string; abi: string; platform: string }[] = [];
  #slave = 0;
  #serial = 0;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Before anything else. */
  async begin(): Promise<void> {
    this.#slave = await someSlave(this.#db);
  }

  async do({ action, seed }: Step): Promise<void> {
    const random = chance(seed);
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
    const releases = () => ['1.0', '2.0', '3.0'].filter(() => pick([true, false])).map(aRelease);
    const aRelease = (its: string) =>
      someRelease(its, {
        requires_python: pick(SPECIFIERS),
        has_sdist: pick([true, true, false]),
        priority: pick([0, 1, 2]),
        yanked: pick([null, null, '']),
      });
    const serial = () => (this.#serial += pick([0, 1, 1, 2]));
    return {
      'new version': () =>
        newVersions(db, name(), pick(['feed', 'feed', 'add', 'import'] as const), [aRelease(version())]),
      'new package': () => {
        const added = { package: name(), description: null, aliases: [] };
        const origin = pick(['feed', 'add'] as const);
        return db.transaction((within) => newPackage(within, { ...added, origin }));
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
          const ofProject =
            kind === 'create' || kind === 'remove project' || (kind.length > 6 && pick([true, false]));
          const whole = ofProject && !['release', 'add file', 'remove file', 'remove release'].includes(kind);
          const file = kind.endsWith('file') ? { name: 'x', sdist: pick([true, true, false]) } : null;
          return {
            serial: serial(),
            time: 1e9,
            name: name() as PackageName,
            version: whole ? null : version(),
            kind,
            file,
          };
        });
        const { projects, versions } = fold(events);
        return applyEvents(db, { fence: 0, position: [0, 0, 0, 0], projects, versions });
      },
      page: () =>
        applyPage(db, {
          ...{
            fence: 0,
            package: name(),
            serial: pick([0, serial(), serial() + 3]),
            etag: null,
            description: null,
          },
          status: pick(['active', 'active', 'quarantined', 'archived']),
          ...{ releases: releases(), removal_delay_s: pick([0, 3600]) },
        }),
      'missing page': () => missingPage(db, 0, name(), pick([true, false])),
      list: () =>
        settleVersions(db, {
          ...{ fence: 0, package: name(), serial: serial() + 5 },
          versions: ['1.0', '2.0', '3.0'].filter(() => pick([true, false])),
        }),
      'add target': () => {
        const [abi, platform] = pick(TARGETS);
        return addTarget(db, { ...target(abi, platform), skip: pick([null, null, 'why']) }, pick([0, 3]));
      },
      'remove target': () => {
        const [abi, platform] = pick(TARGETS);
        return pick([0, 0, 1]) === 1 ? removeTarget(db, abi, platform, pick([0, 3])) : Promise.resolve();
      },
      'fill a slice': () => fillSlice(db, pick([1, 2, 3])),
      'log a build': () => {
        const [abi, platform] = pick(TARGETS);
        return logBuilds(db, [
          built(name(), version(), abi, platform, pick([[], [pick(TAGS)], [pick(TAGS), pick(TAGS)]])),
        ]);
      },
      'skip version': () => skipVersion(db, name(), version(), pick([null, 'why'])),
      'skip package': () => skipPackage(db, name(), pick([null, null, 'why'])),
      yank: () => yankVersion(db, name(), version(), pick([null, '', 'why'])),
      quarantine: () => quarantine(db, name(), pick([null, version()]), pick([true, false])),
      'delete builds': () => deleteBuilds(db, name(), version()),
      'delete version': () =>
        pick([0, 0, 1]) === 1 ? deleteVersion(db, name(), version()) : Promise.resolve(),
      take: async () => {
        const [abi, platform] = pick(TARGETS);
        for (const build of await next(db, abi, platform, 2)) {
          const asked = { ...build, slaveId: this.#slave, leaseS: pick([60, -1]) };
          for (const { lease, number, package: of } of await grant(db, [asked], 1))
            this.#leases.push({ lease, version: number, package: of, abi, platform });
        }
      },
      'hand in': async () => {
        const held = this.#leases.shift();
        if (!held) return;
        const { lease, package: of, version: its, abi, platform } = held;
        const its1 = built(of, its, abi, platform, pick([[], [pick(TAGS)]]));
        const there = await db.query<{ filename: string }>(
          `select filename from files join versions using (version_id) join packages using (package_id)
           where package = $1 and version = $2 order by uploaded`,
          [of, its],
        );
        // Others have published what this build would have.
        const served = its1.status && pick([true, false]) ? there.map(({ filename }) => filename) : [];
        const failure = its1.status
          ? {}
          : { failure_class: pick(['compiler', 'network', 'memory', 'no-sdist']) };
        // Held back for so long, or ready to be given out again at the next step that returns what has run out.
        const result = { ...its1, ...failure, served, lease, slave_id: this.#slave };
        await logBuilds(db, [result], pick([60, -60]));
      },
      'give back': async () => {
        const held = this.#leases.shift();
        if (held) await release(db, [[held.lease, this.#slave]], pick([0, 60]));
      },
      expire: () => returnExpired(db),
      retry: () => {
        const chosen = {
          package: pick([null, null, name()]),
          version: pick([null, null, version()]),
          abi: pick([null, null, 'cp39', 'cp311']),
          classes: pick([[], ['compiler'], ['network', 'no-sdist']]),
        };
        return retryBuilds(db, {
          filter: { ...ANY_FAILURE, ...chosen },
          dry_run: false,
          after: 0,
          upto: null,
        });
      },
      'put back unconfirmed': async () => {
        const failures = await db.query<{
          build_id: number;
          version_id: number;
          target_id: number;
          package: string;
        }>(
          `select build_id, version_id, target_id, package
           from builds b join versions using (version_id) join packages using (package_id)
           where b.slave_id is not null and not b.status and not b.passing and b.put_back is null
           order by b.build_id`,
        );
        await db.transaction((within) => putBack(within, failures, 'unconfirmed'));
      },
    };
  }
}
