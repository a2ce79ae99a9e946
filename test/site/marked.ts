import type { Project, SearchRow } from '../../src/model/project.js';
import type { Site } from '../../src/site/site.js';
import { sampleFront, sampleQueue, sampleStatistics } from './sample-site.js';

/** Markup that would break out of any context and run scripts if it were not escaped. */
export const MARKUP = `"'><script>alert("x")</script><img src=x onerror=alert(1)>&amp;<b onclick='alert(2)'>`;
/** The id of the build whose log is full of markup. */
export const MARKED_BUILD = 700_000;

/**
 * A project with markup in every text field, even in those that can't contain any on the wire: pages don't rely on
 * that.
 */
const markedProject: Project = {
  package: 'demo',
  description: MARKUP,
  status: 'deprecated',
  skip: MARKUP,
  downloads: 5,
  downloads_last_month: 4,
  versions: [
    {
      version: `1.0${MARKUP}`,
      released: 1.7e12,
      skip: MARKUP,
      yanked: MARKUP,
      has_sdist: true,
      requires_python: MARKUP,
      targets: ['failed', 'built', 'none', 'waiting', 'building'].map((state, i) => ({
        abi: i === 2 ? 'cp311' : `cp31${i}${MARKUP}`,
        platform: `linux${MARKUP}`,
        state: state as 'failed',
        build_id: i < 2 ? 12 : null,
        failure_class: state === 'failed' ? 'compiler' : null,
        reason: state === 'failed' ? `it needs ${MARKUP}` : null,
        remark: MARKUP,
        held_until: null,
        filename: MARKUP,
      })),
    },
  ],
  files: [
    {
      filename: `demo-1.0${MARKUP}.whl`,
      version: `1.0${MARKUP}`,
      filesize: 1234,
      sha256: 'ab'.repeat(32),
      metadata_sha256: 'cd'.repeat(32),
      requires_python: MARKUP,
      yanked: MARKUP,
      uploaded: 1.7e12,
      build_id: 12,
      serves: [[`cp311${MARKUP}`, MARKUP]],
      dependencies: { apt: [MARKUP], '': [MARKUP] },
      downloads: 3,
      built: 1.7e12,
      duration_s: 3,
      slave: MARKUP,
      provenance: {
        sdist: [`demo-1.0${MARKUP}.tar.gz`, 'ef'.repeat(32)],
        python: MARKUP,
        pip: MARKUP,
        requirements: [[MARKUP, MARKUP]],
        source_date_epoch: 1_700_000_000,
      },
      remark: MARKUP,
      core_metadata: {
        summary: MARKUP,
        license: MARKUP,
        links: [[MARKUP, 'https://example.org/?a=1&b=2']],
        requires: [MARKUP],
      },
    },
  ],
};

export const markedRows = (): readonly SearchRow[] => [['demo', MARKUP, 1, 5]];

/** Writes all pages with markup in every text. */
export async function writeMarkedPages(site: Site, now: number): Promise<void> {
  const statistics = {
    ...sampleStatistics(now),
    queue: [[`cp311${MARKUP}`, MARKUP, 4] as [string, string, number]],
  };
  const front = sampleFront(now);
  site.writeHome(statistics, {
    ...front,
    latest: front.latest.map((build) => ({ ...build, version: MARKUP, abi: MARKUP, platform: MARKUP })),
  });
  site.writeFarm(
    statistics,
    { ...sampleQueue(now), lengths: [[MARKUP, MARKUP, 1, 3, now]] },
    [
      {
        slave_id: 1,
        label: MARKUP,
        abi: MARKUP,
        platform: MARKUP,
        state: MARKUP,
        package: MARKUP,
        version: MARKUP,
        since: now,
        last_seen: now,
        note: MARKUP,
        stats: null,
      },
    ],
    now,
  );
  site.writeProject(markedProject, 1);
  await site.writeLog({
    build_id: MARKED_BUILD,
    package: 'demo',
    version: MARKUP,
    abi: MARKUP,
    platform: MARKUP,
    status: false,
    failure_class: MARKUP,
    built: now,
    duration_s: 1,
    slave: MARKUP,
    details: { reason: MARKUP, remark: MARKUP, provenance: null },
    output: `${MARKUP}\n\u001b[31m${MARKUP}\u001b[0m\n\u001b]8;;javascript:alert(1)\u0007${MARKUP}\u001b]8;;\u0007\nerror: ${MARKUP}\npiw: demo 1.0 was not built: ${MARKUP}\n`,
  });
}
