/**
 * Upgrades from every schema version, each with rows in all tables. ROWS describes one small farm in the terms of each
 * version; whichever version it is upgraded from, it must come out as expectedRows() says.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import t from 'tap';
import { listTables } from '../../src/database/dump.js';
import { applyMigrations, migrate, schemaVersion } from '../../src/database/migrations.js';
import type { Database } from '../../src/database/pool.js';
import { emptyDatabase } from '../helpers/database.js';

t.setTimeout(180_000);

const [EXTENSION, FALLBACK, PURE] = [
  'numpy-1.0-cp311-cp311-linux_armv7l.whl',
  'numpy-1.0-py3-none-any.whl',
  'pure-1.0-py3-none-any.whl',
];

/** SQL that inserts rows, and the first and the last schema version for which it is valid. */
interface Rows {
  readonly from: number;
  readonly until?: number;
  readonly sql: string;
}

/** In this order. A new table needs rows here; a renamed one needs an entry for the old name and one for the new name. */
const ROWS: readonly Rows[] = [
  { from: 1, until: 1, sql: 'update configuration set pypi_serial = 123' },
  {
    from: 1,
    sql: `
    insert into fences (task, revision) values ('architect', 7);
    insert into paused_tasks (task) values ('secretary');
    insert into specifiers (specifier) values ('>=3.12');
    insert into targets (abi, platform, py_version_tag, rank, skip) values
      ('cp311', 'linux_armv7l', 'cp311', 3011, null), ('cp312', 'linux_armv7l', 'cp312', 3012, null),
      ('pypy310_pp73', 'linux_armv7l', 'pp310', 2003010, null), ('cp39', 'linux_armv7l', 'cp39', 3009, 'retired');
    insert into specifier_admits values (1, 2);
    insert into packages (package, description, skip, status, origin, aliases) values
      ('numpy', 'Arrays', null, 'active', 'feed', '{NumPy}'), ('pure', null, null, 'archived', 'add', '{}'),
      ('huge', null, 'too large', 'active', 'import', '{}'), ('away', null, null, 'quarantined', 'feed', '{}');
    insert into versions (package_id, version, sort_key, released, has_sdist, specifier_id, yanked, origin, priority)
    values
      (1, '1.0', '1.0', '2026-01-01Z', true, null, null, 'feed', 0),
      (1, '2.0', '2.0', '2026-01-02Z', true, null, null, 'feed', 0),
      (2, '1.0', '1.0', '2026-01-03Z', true, null, 'broken', 'add', 0),
      (2, '2.0', '2.0', '2026-01-04Z', true, 1, null, 'add', 1),
      (3, '1.0', '1.0', null, true, null, null, 'import', 0), (4, '1.0', '1.0', null, true, null, null, 'feed', 0);
    insert into slaves (nats_user, session, label, abi, platform, py_version_tag, os_name, os_version, board) values
      ('slave', 's1', 'anvil', 'cp311', 'linux_armv7l', 'cp311', 'Debian', '12', 'Pi 4');
    insert into builds (version_id, target_id, lease, slave_id, built_at, duration, status, failure_class, output) values
      (1, 1, 1, 1, '2026-01-05Z', '60 s', true, null, 'Built it'),
      (1, 3, 2, 1, '2026-01-05Z', '50 s', true, null, 'Fell back'),
      (2, 1, 3, 1, '2026-02-05Z', '40 s', false, 'compiler', 'error: no Fortran'),
      (3, 1, null, null, '2026-02-05Z', '0 s', true, null, '');
    insert into tags (py, abi, platform) values ('cp311', 'cp311', 'linux_armv7l'), ('py3', 'none', 'any');
    insert into tag_covers values (1, 1), (2, 1), (2, 2), (2, 3), (2, 4);
    insert into pages_backlog (kind, argument) values ('PKG', 'numpy'), ('LOG', '1')`,
  },
  // From version 2 on, a target takes part as far as the queue is filled for it.
  { from: 2, sql: `update targets set filled_from = 9223372036854775807 where skip is not null` },
  {
    from: 2,
    sql: `update feed set serial = 123, read_serial = 125, held = 9;
    update packages set page_serial = 12, etag = 'e' where package = 'numpy'`,
  },
  {
    from: 2,
    until: 15,
    sql: `update packages set gone = '2026-01-06Z', missing = '2026-01-06Z', removed = true where package = 'away';
    update versions set gone = '2026-01-06Z' where package_id = 4;
    insert into looks (package_id, urgent, tries, serial) values (1, true, 3, 5)`,
  },
  {
    from: 16,
    sql: `update packages set removed_at = '2026-01-06Z', missing_since = '2026-01-06Z', removal_reported = true
    where package = 'away';
    update versions set removed_at = '2026-01-06Z' where package_id = 4;
    insert into page_fetches (package_id, urgent, attempts, serial) values (1, true, 3, 5)`,
  },
  { from: 3, sql: `update slaves set asleep = true, kill = 'after'` },
  // A failure that is retried: version 2.0 of pure stays queued.
  ...(['passing', 'transient'] as const).map((column) => ({
    ...(column === 'passing' ? { from: 3, until: 15 } : { from: 16 }),
    sql: `insert into builds (version_id, target_id, lease, slave_id, built_at, duration, status, failure_class, output,
      ${column}) values (4, 2, 4, 1, '2026-02-05Z', '9 s', false, 'network', 'timed out', true)`,
  })),
  // Before version 4, a pure wheel that PyPy had built served all targets.
  {
    from: 4,
    sql: `insert into tags (py, abi, platform, reach) values ('py3', 'none', 'any', 'pypy');
    insert into tag_covers values (3, 3)`,
  },
  {
    from: 1,
    sql: `insert into files (filename, version_id, build_id, filesize, sha256, metadata_sha256, tag_id, requires_python,
      dependencies, uploaded) values
      ('${EXTENSION}', 1, 1, 700, 'aa', 'ab', 1, '>=3.9', '{"apt": ["libc6"]}', '2026-01-05Z'),
      ('${FALLBACK}', 1, 2, 60, 'bb', 'bc', (select max(tag_id) from tags), null, '{}', '2026-01-05Z'),
      ('${PURE}', 3, 4, 5, 'cc', 'cd', 2, null, '{}', '2026-02-05Z')`,
  },
  { from: 1, until: 10, sql: `update files set requires_python = '>=3.' where filename = '${PURE}'` },
  {
    from: 1,
    until: 4,
    sql: `insert into pages_backlog (kind, argument) values ('SEARCH', ''), ('SITEMAP', '')`,
  },
  { from: 5, until: 15, sql: `insert into listed (package, serial) values ('numpy', 1001), ('pure', 1002)` },
  { from: 16, sql: `insert into listed_packages (package, serial) values ('numpy', 1001), ('pure', 1002)` },
  {
    from: 1,
    until: 5,
    sql: `insert into downloads (filename, accessed_by, accessed_at, arch) values
      ('${EXTENSION}', 'h1', '2025-12-31 23:30Z', 'armv7l'), ('${EXTENSION}', 'h2', '2026-01-01 00:30Z', 'armv7l'),
      ('${PURE}', 'h3', '2026-01-01 00:40Z', null);
    insert into page_hits (kind, what, accessed_by, accessed_at) values ('search', 'numpy', 'h1', '2026-01-01 00:30Z')`,
  },
  {
    from: 6,
    sql: `select make_log_months('{2025-12-01,2026-01-01}');
    insert into downloads (file_id, accessed_by, accessed_at, arch)
    select file_id, who, at::timestamptz, arch
    from files join (values
      ('${EXTENSION}', 'h1', '2025-12-31 23:30Z', 'armv7l'), ('${EXTENSION}', 'h2', '2026-01-01 00:30Z', 'armv7l'),
      ('${PURE}', 'h3', '2026-01-01 00:40Z', null)) d (filename, who, at, arch) using (filename);
    select add_downloads(
      array[(select file_id from files where filename = '${EXTENSION}'),
        (select file_id from files where filename = '${PURE}')], '{2,1}',
      '{1,1,2}', '{2025-12-31,2026-01-01,2026-01-01}', '{1,1,1}', '{2025-12-31 23:00Z,2026-01-01 00:00Z}', '{1,2}');
    insert into logs (head, upto, mark) values ('h', 500, 'm')`,
  },
  ...(['what', 'resource'] as const).map((column) => ({
    ...(column === 'what' ? { from: 6, until: 15 } : { from: 16 }),
    sql: `insert into page_hits (kind, ${column}, accessed_by, accessed_at, country) values
      ('search', 'numpy', 'h1', '2026-01-01 00:30Z', 'DE')`,
  })),
  // The statistics so far are summed up, and changes of the queue are not.
  {
    from: 7,
    sql: `select sum_up(1000);
    insert into package_month values (1, 2);
    update month_summed set at = '2026-01-07Z', took = '1 s'`,
  },
  { from: 8, sql: 'update versions set yank_kept = true where version_id = 3' },
  {
    from: 9,
    sql: `update builds set reason = 'no Fortran compiler', provenance = '{"python": "3.11.2"}' where build_id = 3;
    update builds set remark = 'fell back' where build_id = 2;
    update files set core_metadata = '{"license": "BSD"}' where filename = '${EXTENSION}'`,
  },
  ...(['published', 'published_files'] as const).map((table) => ({
    ...(table === 'published' ? { from: 10, until: 15 } : { from: 16 }),
    sql: `insert into ${table} (filename, sha256, first_published) select filename, sha256, uploaded from files;
    insert into ${table} (filename, sha256) values ('numpy-0.9-py3-none-any.whl', 'ee')`,
  })),
  // A failure that was requeued: version 2.0 of numpy stays queued for cp312.
  ...(['put_back', 'requeue_reason'] as const).map((column) => ({
    ...(column === 'put_back' ? { from: 13, until: 15 } : { from: 16 }),
    sql: `insert into builds (version_id, target_id, lease, slave_id, built_at, duration, status, failure_class, output,
      ${column}) values (2, 2, 5, 1, '2026-02-05Z', '8 s', false, 'compiler', 'error', 'retry')`,
  })),
  {
    from: 14,
    sql: `update slaves set set_aside = '2026-02-06Z', set_aside_reason = 'fails too often', suspect_after = 3`,
  },
  { from: 15, sql: `update installation set name = 'attic', holder = 'nats://attic piw'` },
  { from: 15, until: 15, sql: 'update installation set beat = 5' },
  { from: 16, sql: 'update installation set heartbeat = 5' },
  {
    from: 17,
    sql: `insert into file_removals (filename, package) values ('pure-0.9-py3-none-any.whl', 'pure')`,
  },
  {
    from: 1,
    sql: `select requeue(array(select version_id from versions));
    update queue set lease = 9, slave_id = 1, leased_until = '2026-02-07Z', attempt = 2 where version_id = 4`,
  },
];

/** Creates the tables of a schema version, with rows in each of them. */
async function createFilled(db: Database, version: number): Promise<void> {
  await applyMigrations(db, 0, version);
  for (const { from, until = Infinity, sql } of ROWS)
    if (from <= version && version <= until) await db.query(sql);
}

async function emptyTables(db: Database): Promise<string[]> {
  const empty: string[] = [];
  for (const { name } of await listTables(db))
    if ((await db.query(`select from ${name} limit 1`)).length === 0) empty.push(name);
  return empty;
}

/** What is read back after an upgrade: each query returns arrays of JSON. */
const QUERIES = {
  packages: `select jsonb_build_array(package, description, skip, status, origin, aliases, page_serial, etag)
    from packages order by package_id`,
  removed: `select jsonb_build_array(package, p.removed_at at time zone 'UTC', p.missing_since is null, removal_reported,
      v.removed_at at time zone 'UTC')
    from packages p join versions v using (package_id)
    where p.removed_at is not null or p.missing_since is not null or removal_reported or v.removed_at is not null`,
  versions: `select jsonb_build_array(package, version, (released at time zone 'UTC')::date, specifier, yanked, yank_kept,
      v.origin, priority)
    from versions v join packages using (package_id) left join specifiers using (specifier_id) order by version_id`,
  targets: `select jsonb_build_array(abi, skip, filled_from > 0, leaving) from targets order by target_id`,
  slaves: `select jsonb_build_array(label, asleep, kill, set_aside at time zone 'UTC', set_aside_reason, suspect_after)
    from slaves`,
  builds: `select jsonb_build_array(version_id, target_id, lease, slave_id, (built_at at time zone 'UTC')::date,
      extract(epoch from duration)::int, status, failure_class, output, transient, requeue_reason, reason, remark,
      provenance)
    from builds order by build_id`,
  files: `select jsonb_build_array(filename, version_id, build_id, filesize, sha256, metadata_sha256, requires_python,
      dependencies, (uploaded at time zone 'UTC')::date, core_metadata, reach,
      (select json_agg(target_id order by target_id) from tag_covers c where c.tag_id = f.tag_id))
    from files f join tags using (tag_id) order by filename`,
  published: 'select jsonb_build_array(filename, sha256) from published_files order by filename',
  queue: `select jsonb_build_array(package, version, abi, q.priority, lease, slave_id, attempt)
    from queue q join versions using (version_id) join packages p on p.package_id = q.package_id
    join targets using (target_id) order by version_id`,
  pending: `select jsonb_build_array(version_id, target_id, priority, package_id) from builds_pending
    order by version_id, target_id`,
  feed: 'select jsonb_build_array(serial, read_serial, held) from feed',
  fetches: 'select jsonb_build_array(package_id, urgent, attempts, serial) from page_fetches',
  fences: 'select jsonb_build_array(task, revision) from fences',
  paused: 'select jsonb_build_array(task) from paused_tasks',
  listed: 'select jsonb_build_array(package, serial) from listed_packages order by package',
  pages: 'select jsonb_build_array(kind, argument) from pages_backlog order by kind, argument',
  downloads: `select jsonb_build_array(filename, accessed_by, accessed_at at time zone 'UTC', arch)
    from downloads join files using (file_id) order by accessed_at`,
  hits: `select jsonb_build_array(kind, resource, accessed_by, accessed_at at time zone 'UTC', country) from page_hits`,
  perFile: `select jsonb_build_array(filename, downloads) from file_downloads join files using (file_id) order by filename`,
  perDay: 'select jsonb_build_array(package_id, day, downloads) from download_days order by package_id, day',
  perHour: `select jsonb_build_array(hour at time zone 'UTC', downloads) from download_hours order by hour`,
  statistics: `select jsonb_build_array(figure, target_id, value) from figures_now where value <> 0
    order by figure, target_id`,
  perMonth: `select jsonb_build_array(figure, to_char(began at time zone 'UTC', 'YYYY-MM'), sum(value)) from history_now
    where step = 'month' group by figure, began order by figure, began`,
  installation: 'select jsonb_build_array(name, heartbeat) from installation',
} as const;

type State = Readonly<Record<keyof typeof QUERIES, unknown>>;

async function readState(db: Database): Promise<State> {
  const state: Record<string, unknown> = {};
  for (const [name, sql] of Object.entries(QUERIES)) {
    const rows = await db.query(sql);
    state[name] = rows.map((row) => row['jsonb_build_array']);
  }
  return state as State;
}

/** Returns what QUERIES must read after an upgrade from version `from`. */
function expectedRows(from: number): State {
  /** The value, if its column or table existed when the rows were inserted. */
  const since = <T>(version: number, value: T, before: T): T => (from >= version ? value : before);
  const builds = [
    [1, 1, 1, 1, '2026-01-05', 60, true, null, 'Built it', false, null, null, null, null],
    [
      1,
      3,
      2,
      1,
      '2026-01-05',
      50,
      true,
      null,
      'Fell back',
      false,
      null,
      null,
      since(9, 'fell back', null),
      null,
    ],
    [
      ...[2, 1, 3, 1, '2026-02-05', 40, false, 'compiler', 'error: no Fortran', false, null],
      ...since<readonly unknown[]>(
        9,
        ['no Fortran compiler', null, { python: '3.11.2' }],
        [null, null, null],
      ),
    ],
    [3, 1, null, null, '2026-02-05', 0, true, null, '', false, null, null, null, null],
    ...since(
      3,
      [[4, 2, 4, 1, '2026-02-05', 9, false, 'network', 'timed out', true, null, null, null, null]],
      [],
    ),
    ...since(
      13,
      [[2, 2, 5, 1, '2026-02-05', 8, false, 'compiler', 'error', false, 'retry', null, null, null]],
      [],
    ),
  ];
  const failed = since(13, 2, 1);
  const retried = since(3, 1, 0);
  return {
    packages: [
      ['numpy', 'Arrays', null, 'active', 'feed', ['NumPy'], since(2, 12, 0), since(2, 'e', null)],
      ['pure', null, null, 'archived', 'add', [], 0, null],
      ['huge', null, 'too large', 'active', 'import', [], 0, null],
      ['away', null, null, 'quarantined', 'feed', [], 0, null],
    ],
    removed: since(2, [['away', '2026-01-06T00:00:00', false, true, '2026-01-06T00:00:00']], []),
    versions: [
      ['numpy', '1.0', '2026-01-01', null, null, false, 'feed', 0],
      ['numpy', '2.0', '2026-01-02', null, null, false, 'feed', 0],
      ['pure', '1.0', '2026-01-03', null, 'broken', from >= 8, 'add', 0],
      ['pure', '2.0', '2026-01-04', '>=3.12', null, false, 'add', 1],
      ['huge', '1.0', null, null, null, false, 'import', 0],
      ['away', '1.0', null, null, null, false, 'feed', 0],
    ],
    targets: [
      ['cp311', null, false, false],
      ['cp312', null, false, false],
      ['pypy310_pp73', null, false, false],
      ['cp39', 'retired', true, false],
    ],
    slaves: [
      [
        ...['anvil', from >= 3, since(3, 'after', null)],
        ...since<readonly unknown[]>(14, ['2026-02-06T00:00:00', 'fails too often', 3], [null, null, null]),
      ],
    ],
    builds,
    files: [
      [
        ...[EXTENSION, 1, 1, 700, 'aa', 'ab', '>=3.9', { apt: ['libc6'] }, '2026-01-05'],
        ...[since(9, { license: 'BSD' }, null), 'all', [1]],
      ],
      [FALLBACK, 1, 2, 60, 'bb', 'bc', null, {}, '2026-01-05', null, 'pypy', [3]],
      [PURE, 3, 4, 5, 'cc', 'cd', null, {}, '2026-02-05', null, 'all', [1, 2, 3, 4]],
    ],
    published: [
      ...since(10, [['numpy-0.9-py3-none-any.whl', 'ee']], []),
      [EXTENSION, 'aa'],
      [FALLBACK, 'bb'],
      [PURE, 'cc'],
    ],
    queue: [
      ['numpy', '1.0', 'cp312', 0, null, null, 0],
      ['numpy', '2.0', 'cp312', 0, null, null, 0],
      ['pure', '2.0', 'cp312', 1, 9, 1, 2],
    ],
    pending: [
      [1, 2, 0, 1],
      [2, 2, 0, 1],
      [4, 2, 1, 2],
    ],
    feed: [[123, since(2, 125, 0), since(2, 9, null)]],
    fetches: since(2, [[1, true, 3, 5]], []),
    fences: [['architect', 7]],
    paused: [['secretary']],
    listed: [
      ['numpy', since(5, 1001, 1)],
      ['pure', since(5, 1002, 1)],
    ],
    // Before version 5 there were no pages of logs and no serials: all pages are due.
    pages: [
      ...builds.map((_, i) => ['LOG', String(i + 1)]).slice(0, since(5, 1, builds.length)),
      ['PKG', 'numpy'],
      ...since(11, [], [['PKG', 'pure']]),
      ...since(
        5,
        [],
        [
          ['PROJECT', 'away'],
          ['PROJECT', 'huge'],
        ],
      ),
    ],
    downloads: [
      [EXTENSION, 'h1', '2025-12-31T23:30:00', 'armv7l'],
      [EXTENSION, 'h2', '2026-01-01T00:30:00', 'armv7l'],
      [PURE, 'h3', '2026-01-01T00:40:00', null],
    ],
    hits: [['search', 'numpy', 'h1', '2026-01-01T00:30:00', since(6, 'DE', null)]],
    perFile: [
      [EXTENSION, 2],
      [PURE, 1],
    ],
    perDay: [
      [1, '2025-12-31', 1],
      [1, '2026-01-01', 1],
      [2, '2026-01-01', 1],
    ],
    perHour: [
      ['2025-12-31T23:00:00', 1],
      ['2026-01-01T00:00:00', 2],
    ],
    statistics: [
      ['builds', 0, builds.length],
      ['builds_failed', 0, failed],
      ...since(3, [['builds_retried', 0, retried]], []),
      ['downloads', 0, 3],
      ['files', 0, 3],
      ['files_bytes', 0, 765],
      ['packages', 0, 4],
      ['packages_built', 0, 2],
      ['queue', 2, 3],
      ['versions', 0, 6],
    ],
    perMonth: [
      ['builds', '2026-01', 2],
      ['builds', '2026-02', builds.length - 2],
      ['builds_failed', '2026-02', failed],
      ...since(3, [['builds_retried', '2026-02', retried]], []),
      ['downloads', '2025-12', 1],
      ['downloads', '2026-01', 2],
    ],
    installation: [[since(15, 'attic', hostname()), since(15, 5, 0)]],
  };
}

/** Returns the schema as lines of text, sorted, without the partitions, which depend on the rows and on the date. */
async function readSchema(db: Database): Promise<string> {
  const rows = await db.query<{ line: string }>(`
    with ours as (
      select * from pg_class where relnamespace = current_schema()::regnamespace and not relispartition
    )
    select concat_ws(' ', 'relation', relname, relkind, reloptions::text, relacl::text,
      case relkind when 'v' then pg_get_viewdef(oid) when 'i' then pg_get_indexdef(oid) when 'I' then pg_get_indexdef(oid)
        when 'p' then pg_get_partkeydef(oid) end) as line
    from ours
    union all
    select concat_ws(' ', 'column', relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
      attcollation::regcollation, pg_get_expr(adbin, adrelid))
    from ours join pg_attribute a on attrelid = ours.oid left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attnum > 0 and not attisdropped and relkind in ('r', 'p', 'v')
    union all
    select concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(c.oid))
    from ours join pg_constraint c on conrelid = ours.oid
    union all
    select concat_ws(' ', 'trigger', relname, tgenabled, pg_get_triggerdef(g.oid))
    from ours join pg_trigger g on tgrelid = ours.oid where not tgisinternal
    union all
    select concat_ws(' ', 'sequence', relname, format_type(seqtypid, null), seqstart, seqincrement, seqmax, seqmin,
      seqcycle)
    from ours join pg_sequence on seqrelid = ours.oid
    union all
    select concat_ws(' ', 'function', proacl::text, pg_get_functiondef(oid))
    from pg_proc where pronamespace = current_schema()::regnamespace
    order by line`);
  return rows.map(({ line }) => line).join('\n');
}

void t.test('an upgrade from any version keeps all rows', async (t) => {
  const reference = await emptyDatabase(t);
  const user = `r${randomBytes(6).toString('hex')}`;
  await reference.db.query(`create role ${user}`);
  t.teardown(async () => {
    await reference.db.query(`drop owned by ${user}; drop role ${user}`);
  });
  await migrate(reference.dsn, { user });
  const schema = await readSchema(reference.db);
  const newest = schemaVersion();
  await t.test('from version 8 as it was for an hour, without page priorities', async (t) => {
    const { db, dsn } = await emptyDatabase(t);
    await createFilled(db, 8);
    await db.query(`
      drop index pages_next;
      drop function lane_of;
      create index pages_next on pages_backlog ((kind in ('LOG', 'PROJECT', 'PACK')), note)`);
    await migrate(dsn, { user });
    t.same(await readState(db), expectedRows(8), 'the rows are as they should be');
    t.equal(await readSchema(db), schema, 'the schema is that of a new database');
  });
  // The newest one, which is not upgraded, shows that ROWS has rows for its tables, too.
  for (let version = 1; version <= newest; version += 1)
    await t.test(`from version ${version}`, async (t) => {
      const { db, dsn } = await emptyDatabase(t);
      await createFilled(db, version);
      t.same(await emptyTables(db), [], 'every table has rows');
      t.same(await migrate(dsn, { user }), { from: version, to: newest });
      t.same(await readState(db), expectedRows(version), 'the rows are as they should be');
      t.equal(await readSchema(db), schema, 'the schema is that of a new database');
    });
});
