import { DAY_MS, HOUR_MS } from '../../src/units.js';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Project, ProjectFile, ProjectVersion, SearchRow } from '../../src/model/project.js';
import type { EndedBuild, HomePageData, ActivityHistory } from '../../src/protocols/site.js';
import type { Statistics } from '../../src/protocols/statistics.js';
import type { QueueStatus, PublicSlave } from '../../src/site/pages/farm.js';
import { Site } from '../../src/site/site.js';
import type { Build } from '../../src/site/pages/log.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

/** The data of a sample farm for Raspberry Pis, some years after it was started. */

export const PLATFORM = 'linux_armv7l';

/** Returns a generator of reproducible numbers from 0 to below 1, which is random enough for pictures. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const WORDS =
  'data image flask django async http web cloud aws azure google ml deep torch plot table cache redis sql mongo test mock type parser json yaml xml html css markdown text nlp audio video pdf excel crypto auth jwt oauth graph tree geo map time date money tax bank shop bot chat mail sms push queue task job work flow pipe stream event log metric trace monitor deploy docker kube helm build tool kit cli shell term color rich fast tiny micro mini super easy simple auto smart open free py lib core base common util client server api sdk rest rpc proto schema model form field admin user group role plugin addon extra theme'.split(
    ' ',
  );
const WELL_KNOWN_PACKAGES: readonly (readonly [string, string])[] = [
  ['numpy', 'Fundamental package for array computing in Python'],
  ['requests', 'Python HTTP for Humans.'],
  ['django-rest-framework', 'alias.'],
  ['djangorestframework', 'Web APIs for Django, made easy.'],
  ['scikit-learn', 'A set of python modules for machine learning and data mining'],
  ['cryptography', 'cryptography provides cryptographic recipes and primitives to Python developers.'],
  ['pillow', 'Python Imaging Library (fork)'],
  ['pandas', 'Powerful data structures for data analysis, time series, and statistics'],
  [
    'lxml',
    'Powerful and Pythonic XML processing library combining libxml2/libxslt with the ElementTree API.',
  ],
  ['grpcio', 'HTTP/2-based RPC framework'],
  ['opencv-python', 'Wrapper package for OpenCV python bindings.'],
  ['matplotlib', 'Python plotting package'],
  ['scipy', 'Fundamental algorithms for scientific computing in Python'],
  ['rpi-gpio', 'A module to control Raspberry Pi GPIO channels'],
  ['home-assistant-frontend', 'The Home Assistant frontend'],
  ['requests-oauthlib', 'OAuthlib authentication support for Requests.'],
  ['restfulpy', 'A toolchain for developing REST APIs'],
  ['markupsafe', 'Safely add untrusted strings to HTML/XML markup.'],
];

/** Returns `count` packages ordered by name, among them some that are well known. */
export function sampleRows(count: number): readonly SearchRow[] {
  const random = pseudoRandom(7);
  const pick = (): string => WORDS[Math.floor(random() * WORDS.length)] ?? '';
  const rows = new Map<string, SearchRow>();
  WELL_KNOWN_PACKAGES.forEach(([name, description], i) => {
    rows.set(name, [name, description, 40 + Math.floor(random() * 400), Math.floor(900_000 / (i + 1.3))]);
  });
  while (rows.size < count) {
    const words = Array.from({ length: 1 + Math.floor(random() * 3) }, pick);
    const name = `${words.join('-')}${random() < 0.4 ? String(Math.floor(random() * 50)) : ''}`;
    const description = `${pick()} ${pick()} for ${pick()} ${pick()} with ${pick()}`;
    const files = random() < 0.1 ? 0 : Math.floor(random() * 60);
    rows.set(name, [name, description, files, files === 0 ? 0 : Math.floor(random() ** 6 * 20_000)]);
  }
  return [...rows.values()].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Yields rows in pages, as the Oracle returns them. */
export async function* paginate(
  rows: readonly SearchRow[],
  limit = 5000,
): AsyncGenerator<readonly SearchRow[]> {
  for (let at = 0; at < rows.length; at += limit) {
    await Promise.resolve();
    yield rows.slice(at, at + limit);
  }
}

export const emptyStatistics: Statistics = {
  counted: 1.7e12,
  packages: 0,
  packages_built: 0,
  versions: 0,
  builds: 0,
  builds_failed: 0,
  builds_retried: 0,
  builds_last_hour: 0,
  builds_succeeded_last_hour: 0,
  builds_last_day: 0,
  builds_succeeded_last_day: 0,
  building: 0,
  oldest_release: null,
  files: 0,
  files_bytes: 0,
  downloads: 0,
  downloads_last_day: 0,
  downloads_last_month: 0,
  queue: [],
  slaves: [],
  disk_total: 0,
  disk_free: 0,
  database_bytes: 0,
  last_event: null,
  conditions: [],
};
export const emptyFront: HomePageData = {
  history: { hours: [], days: [], months: [] },
  latest: [],
  popular: [],
};

export function sampleStatistics(now: number): Statistics {
  return {
    counted: now - 3000,
    packages: 701_482,
    packages_built: 402_771,
    versions: 7_914_207,
    builds: 9_204_118,
    builds_failed: 1_377_902,
    builds_retried: 21_040,
    builds_last_hour: 214,
    builds_succeeded_last_hour: 180,
    builds_last_day: 4871,
    builds_succeeded_last_day: 4120,
    building: 9,
    oldest_release: now - 5_400_000,
    files: 2_481_906,
    files_bytes: 3.42e12,
    downloads: 214_882_013,
    downloads_last_day: 612_480,
    downloads_last_month: 18_204_551,
    queue: [
      ['cp39', PLATFORM, 214],
      ['cp311', PLATFORM, 12_480],
      ['cp313', PLATFORM, 41_022],
    ],
    slaves: [
      ['building', 9],
      ['waiting', 2],
    ],
    disk_total: 8e12,
    disk_free: 3.1e12,
    database_bytes: 21.4e9,
    last_event: now - 42_000,
    conditions: [],
  };
}

export function sampleFront(now: number): HomePageData {
  const random = pseudoRandom(3);
  const steps = (
    count: number,
    length: number,
    builds: number,
    downloads: number,
  ): ActivityHistory['hours'] =>
    Array.from({ length: count }, (_, i) => {
      const wave = 0.65 + 0.3 * Math.sin((i / count) * 9) + random() * 0.3;
      const stepBuilds = Math.floor(builds * wave);
      const elapsedShare = i === count - 1 ? 0.4 : 1;
      return [
        Math.floor(now / length) * length - (count - 1 - i) * length,
        Math.floor(stepBuilds * elapsedShare),
        Math.floor(stepBuilds * elapsedShare * (0.06 + random() * 0.16)),
        Math.floor(downloads * elapsedShare * (0.6 + (0.5 * i) / count + random() * 0.15)),
      ];
    });
  const popular = WELL_KNOWN_PACKAGES.map(([name], i): [string, number] => [
    name,
    Math.floor(900_000 / (i + 1.3)),
  ]);
  const latest = WELL_KNOWN_PACKAGES.slice(0, 14).map(([name], i): EndedBuild => ({
    build_id: 9_204_118 - i,
    package: name,
    version: `${1 + (i % 4)}.${i * 3}.${i % 3}`,
    abi: ['cp39', 'cp311', 'cp313'][i % 3] ?? 'cp311',
    platform: PLATFORM,
    status: i % 5 !== 3,
    failure_class: i % 5 === 3 ? 'missing-header' : null,
    built: now - i * 47_000 - 5000,
    duration_s: 3.4 * (i + 1) ** 2,
    imported: false,
  }));
  const month = 30.44 * DAY_MS;
  return {
    history: {
      hours: steps(48, HOUR_MS, 240, 26_000),
      days: steps(365, DAY_MS, 5200, 610_000),
      months: steps(31, month, 150_000, 17_000_000),
    },
    latest,
    popular,
  };
}

export const sampleQueue = (now: number): QueueStatus => ({
  verb: 'QUEUE',
  lengths: [
    ['cp39', PLATFORM, 0, 201, now - 900 * DAY_MS],
    ['cp39', PLATFORM, 1, 13, now - 3 * HOUR_MS],
    ['cp311', PLATFORM, 0, 12_380, now - 1400 * DAY_MS],
    ['cp311', PLATFORM, 1, 98, now - 5 * HOUR_MS],
    ['cp311', PLATFORM, 2, 2, now - 20 * DAY_MS],
    ['cp313', PLATFORM, 0, 40_881, now - 2200 * DAY_MS],
    ['cp313', PLATFORM, 1, 141, now - 6 * HOUR_MS],
  ],
  last_hour: 214,
  estimated: false,
  age_s: 20,
  building: 9,
  held: 31,
  last_minute: 4,
});

function sampleSlaves(now: number): readonly PublicSlave[] {
  const builds = [
    'numpy 2.3.1',
    'scipy 1.16.0',
    'grpcio 1.74.0',
    'lxml 6.0.0',
    'pandas 2.3.0',
    'pillow 11.3.0',
  ];
  return Array.from({ length: 12 }, (_, i): PublicSlave => {
    const [name, version] = (builds[i % builds.length] ?? '').split(' ');
    const state = ['building', 'building', 'building', 'sending', 'waiting', 'resting'][i % 6] ?? 'building';
    const busy = state === 'building' || state === 'sending';
    return {
      slave_id: 40 + i,
      label: `pi${String(i + 1).padStart(2, '0')}`,
      abi: ['cp39', 'cp311', 'cp313'][i % 3] ?? 'cp311',
      platform: PLATFORM,
      state,
      package: busy ? (name ?? null) : null,
      version: busy ? (version ?? null) : null,
      since: now - i * 371_000 - 12_000,
      last_seen: now - 4000,
      note:
        state === 'resting'
          ? 'less than 2 GB of disk space is free'
          : state === 'waiting'
            ? 'nothing for cp39'
            : null,
      stats: [64e9, 21e9, 8e9, 5.2e9 - i * 2e8, 3.4 - i / 6, 58],
    };
  });
}

const TARGETS = ['cp39', 'cp311', 'cp313'];

/** Returns a project with `count` versions, newest first, and a wheel for each target except some that failed. */
export function sampleProject(name: string, description: string, count: number, now: number): Project {
  const random = pseudoRandom(count + name.length);
  const versions: ProjectVersion[] = [];
  const files: ProjectFile[] = [];
  for (let i = count - 1; i >= 0; i -= 1) {
    const version = `${1 + Math.floor(i / 20)}.${Math.floor(i / 3) % 7}.${i % 3}`;
    const released = now - (count - i) * 41 * DAY_MS;
    const fails = i % 7 === 4;
    const yanked = i % 11 === 6 ? 'breaks the import of compiled modules; use the next version' : null;
    versions.push({
      version,
      released,
      skip: i === 1 ? 'takes 30 GB of disk' : null,
      yanked,
      has_sdist: i % 13 !== 9,
      requires_python: '>=3.9',
      targets: TARGETS.map((abi, t) => {
        const state =
          i === count - 1 && t === 2
            ? 'building'
            : i === 1 || i % 13 === 9
              ? 'none'
              : fails && t > 0
                ? 'failed'
                : 'built';
        return {
          abi,
          platform: PLATFORM,
          state,
          build_id: state === 'built' || state === 'failed' ? 5_000_000 + i * 10 + t : null,
          failure_class: state === 'failed' ? 'missing-header' : null,
          reason:
            state === 'failed'
              ? 'it needs the header cblas.h, which this slave does not have (on Debian: apt install libopenblas-dev)'
              : null,
          remark: null,
          held_until: null,
          filename: state === 'built' ? `${name}-${version}-${abi}-${abi}-${PLATFORM}.whl` : null,
        };
      }),
    });
    for (const { abi, state, filename, build_id } of versions.at(-1)?.targets ?? []) {
      if (state !== 'built' || filename === null) continue;
      const digest = Array.from({ length: 64 }, () => Math.floor(random() * 16).toString(16)).join('');
      files.push({
        filename,
        version,
        filesize: Math.floor(2e6 + random() * 6e6),
        sha256: digest,
        metadata_sha256: digest,
        requires_python: '>=3.9',
        yanked,
        uploaded: released + 3 * HOUR_MS,
        build_id,
        serves: [[abi, PLATFORM]],
        dependencies: { apt: ['libopenblas0-pthread', 'libgfortran5'] },
        downloads: Math.floor(random() * 90_000),
        built: released + 2 * HOUR_MS,
        duration_s: 3541,
        slave: 'pi4-attic',
        provenance: {
          sdist: [`${name}-${version}.tar.gz`, digest],
          python: 'CPython 3.11.2',
          pip: '25.3',
          requirements: [
            ['Cython', '3.1.4'],
            ['meson-python', '0.18.0'],
          ],
          source_date_epoch: Math.floor(released / 1000),
        },
        remark: null,
        core_metadata: {
          summary: description,
          license: 'BSD-3-Clause',
          links: [
            ['Homepage', `https://${name}.example/`],
            ['Source', `https://git.example/${name}/${name}`],
          ],
          requires: [
            'typing-extensions>=4',
            ...Array.from({ length: 9 }, (_, n) => `example-${n}; extra == "all"`),
          ],
        },
      });
    }
  }
  return {
    package: name,
    description,
    status: 'active',
    skip: null,
    downloads: 9_482_113,
    downloads_last_month: 391_304,
    versions,
    files,
  };
}

const LOG_START = [
  'Looking in indexes: https://pypi.org/simple, https://www.piwheels.org/simple',
  'Collecting lxml==6.0.0',
  '  Downloading lxml-6.0.0.tar.gz (4.1 MB)',
  '     \u001b[90m━━━━━━━━\u001b[0m \u001b[32m1.0/4.1 MB\u001b[0m \u001b[31m9.8 MB/s\u001b[0m\r     \u001b[90m━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━\u001b[0m \u001b[32m4.1/4.1 MB\u001b[0m \u001b[31m12.1 MB/s\u001b[0m',
  '  Installing build dependencies: started',
  "  Installing build dependencies: finished with status 'done'",
  '  Getting requirements to build wheel: started',
  "  Getting requirements to build wheel: finished with status 'done'",
  'Building wheels for collected packages: lxml',
  '  Building wheel for lxml (pyproject.toml): started',
  '  Building lxml version 6.0.0.',
  '  Building without Cython.',
  '  running bdist_wheel',
  '  running build_ext',
  "  building 'lxml.etree' extension",
];
const compileLine = (i: number): string =>
  i % 40 === 13
    ? `  src/lxml/etree.c:${1000 + i}:7: warning: 'tp_print' is deprecated [-Wdeprecated-declarations]`
    : `  copying src/lxml/isoschematron/resources/rng/${i}.rng -> build/lib.linux-armv7l-cpython-311/lxml`;

/** Returns a build that failed because a header is missing, with a log of `lines` lines. */
export function sampleBuild(buildId: number, lines: number, now: number): Build {
  const middle = Array.from({ length: Math.max(0, lines - LOG_START.length - 7) }, (_, i) => compileLine(i));
  return {
    build_id: buildId,
    package: 'lxml',
    version: '6.0.0',
    abi: 'cp311',
    platform: PLATFORM,
    status: false,
    failure_class: 'missing-header',
    built: now - 600_000,
    duration_s: 412,
    slave: 'pi4-attic',
    details: {
      ...NO_DETAILS,
      reason:
        'it needs the header libxml/xmlversion.h, which this slave does not have (on Debian: apt install libxml2-dev)',
    },
    output: [
      ...LOG_START,
      ...middle,
      '  \u001b[1msrc/lxml/etree.c:96:10: \u001b[31mfatal error:\u001b[0m\u001b[1m libxml/xmlversion.h: No such file or directory\u001b[0m',
      '     96 | #include "libxml/xmlversion.h"',
      '        |          \u001b[31m^~~~~~~~~~~~~~~~~~~~~\u001b[0m',
      '  compilation terminated.',
      "  error: command '/usr/bin/arm-linux-gnueabihf-gcc' failed with exit code 1",
      '  ERROR: Failed building wheel for lxml',
      'piw: lxml 6.0.0 was not built: it needs the header libxml/xmlversion.h, which this slave does not have (on Debian: apt install libxml2-dev)',
      '',
    ].join('\n'),
  };
}

/** One page of each kind, by its path on the site. */
export const PAGES = {
  home: '',
  packages: 'packages.html',
  project: 'project/numpy/',
  log: 'logs/0000/500042.html',
  farm: 'farm.html',
  faq: 'faq.html',
  lost: 'project/numppy',
  names: 'search/names/da.html',
} as const;
/** The build of the log in PAGES. */
const FAILED_BUILD = 500_042;

/** Writes the site of the sample farm. */
export async function writeSampleSite(
  folder: string,
  publicUrl: string | null,
  now: number,
  packages = 4000,
): Promise<Site> {
  const site = new Site({ outputPath: folder, publicUrl });
  site.setUp();
  const statistics = sampleStatistics(now);
  site.writeHome(statistics, sampleFront(now));
  site.writeFarm(statistics, sampleQueue(now), sampleSlaves(now), now);
  for (const [name, description] of WELL_KNOWN_PACKAGES)
    site.writeProject(sampleProject(name, description, name === 'numpy' ? 30 : 8, now), 7);
  await site.writeLog(sampleBuild(FAILED_BUILD, 160, now));
  await site.writeSearch(paginate(sampleRows(packages)));
  await site.writeSitemap(paginate(sampleRows(packages)));
  mkdirSync(join(folder, 'simple'), { recursive: true });
  writeFileSync(join(folder, 'simple/index.html'), '<!doctype html><title>Simple index</title>');
  return site;
}
