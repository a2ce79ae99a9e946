import type { Database } from '../../src/database/pool.js';
import { registerSlave } from '../../src/database/slaves.js';
import { addTarget } from '../../src/database/targets.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import type { LoggedBuild } from '../../src/model/build.js';
import type { Release } from '../../src/model/release.js';

/** The platform for tests in which it doesn't matter. */
export const PLATFORM = 'linux_x86_64';

/** Returns a release that can be built for every target. */
export const someRelease = (version: string, overrides: Partial<Release> = {}): Release => ({
  version,
  released: 1.7e12,
  yanked: null,
  has_sdist: true,
  sdist_url: null,
  sdist_sha256: null,
  requires_python: null,
  priority: 0,
  ...overrides,
});

/** Returns a build of demo, a failed one unless `overrides` says otherwise. */
export const someBuild = (version: string, overrides: Partial<LoggedBuild> = {}): LoggedBuild => ({
  lease: null,
  slave_id: null,
  package: 'demo',
  version,
  abi: 'cp311',
  platform: PLATFORM,
  status: false,
  failure_class: 'compiler',
  duration_s: 1,
  output: '',
  details: NO_DETAILS,
  files: [],
  served: [],
  ...overrides,
});

/** Registers a target, so that everything is built for it. */
export async function insertTarget(
  db: Database,
  abi: string,
  { platform = PLATFORM, skip = null }: { platform?: string; skip?: string | null } = {},
): Promise<void> {
  await addTarget(db, { abi, platform, py_version_tag: abi, skip });
}

/** Registers a slave; returns its id. */
export async function insertSlave(
  db: Database,
  abi = 'cp311',
  session = 's',
  label = 'anvil',
): Promise<number> {
  const { slave_id } = await registerSlave(db, {
    user: 'slave',
    session,
    label,
    abi,
    platform: PLATFORM,
    py_version_tag: abi,
    os_name: '',
    os_version: '',
    board: null,
    register: false,
  });
  return slave_id;
}
