-- The tables of a farm. Names are piwheels' where it has the thing; everything is made in the
-- current schema, so that several farms (or tests) can share a database.

create table configuration (
    id integer primary key default 1 check (id = 1),
    -- The number of the newest migration in here.
    schema_version integer not null,
    pypi_serial bigint not null default 0
);

-- The newest revision that was seen of each single's lease. A request that bears an older one comes
-- from a process that has been replaced and doesn't know it.
create table fences (
    task text primary key,
    revision bigint not null
);

create table packages (
    package_id bigint generated always as identity primary key,
    -- Normalised as PEP 503 says.
    package text not null unique,
    description text,
    -- Why no version of it is built; null: they are.
    skip text,
    status text not null default 'active' check (status in ('active', 'archived', 'quarantined', 'deprecated')),
    -- Who brought it. What a feed brought, a feed may remove.
    origin text not null check (origin in ('feed', 'add', 'import')),
    aliases text[] not null default '{}'
);

-- requires-python strings are few and shared by many versions. Which targets each admits is worked
-- out once, by the program, when the string or the target is new.
create table specifiers (
    specifier_id integer generated always as identity primary key,
    specifier text not null unique
);

-- What is built for: an ABI on a platform.
create table targets (
    target_id integer generated always as identity primary key,
    abi text not null,
    platform text not null,
    py_version_tag text not null,
    -- The order of ABIs on one platform: CPython with a GIL by version, then free-threaded, then PyPy.
    rank integer not null,
    -- Why nothing is built for it at present.
    skip text,
    unique (abi, platform)
);

create table specifier_admits (
    specifier_id integer not null references specifiers on delete cascade,
    target_id integer not null references targets on delete cascade,
    primary key (specifier_id, target_id)
);

create table versions (
    version_id bigint generated always as identity primary key,
    package_id bigint not null references packages on delete cascade,
    version text not null,
    -- Sorts as PEP 440 says, byte by byte; see src/wheels/versions.ts.
    sort_key text collate "C" not null,
    released timestamptz,
    sdist_url text,
    sdist_sha256 text,
    has_sdist boolean not null,
    specifier_id integer references specifiers,
    skip text,
    -- The reason, which may be empty; null: it isn't yanked.
    yanked text,
    quarantined boolean not null default false,
    origin text not null check (origin in ('feed', 'add', 'import')),
    -- How urgent its builds are: 0 backlog, 1 a new release, 2 an administrator's request.
    priority smallint not null default 0,
    unique (package_id, version)
);

create table slaves (
    slave_id bigint generated always as identity primary key,
    nats_user text not null,
    session text not null,
    label text not null,
    abi text not null,
    platform text not null,
    py_version_tag text not null,
    os_name text not null,
    os_version text not null,
    board text,
    first_seen timestamptz not null default now(),
    unique (nats_user, session)
);

-- One row for each attempt that ended.
create table builds (
    build_id bigint generated always as identity primary key,
    version_id bigint not null references versions on delete cascade,
    target_id integer not null references targets on delete cascade,
    -- The lease under which it was made: the same result is never logged twice. Null: an import.
    lease bigint unique,
    slave_id bigint references slaves on delete set null,
    built_at timestamptz not null default now(),
    duration interval not null,
    status boolean not null,
    failure_class text,
    -- The log. It is kept beside the table, whatever its size: builds are counted and sorted, and their
    -- rows stay small this way. (A table of its own would need a foreign key, checked row by row.)
    output text not null
) with (toast_tuple_target = 128);
create index builds_version on builds (version_id, target_id);
create index builds_built_at on builds (built_at);

-- The tags of wheels, each triple once, as they stand in the filename (several joined with dots), and
-- which targets each serves: worked out once, by the program, like specifiers.
create table tags (
    tag_id integer generated always as identity primary key,
    py text not null,
    abi text not null,
    platform text not null,
    unique (py, abi, platform)
);

create table tag_covers (
    tag_id integer not null references tags on delete cascade,
    target_id integer not null references targets on delete cascade,
    primary key (tag_id, target_id)
);

create table files (
    filename text primary key,
    version_id bigint not null references versions on delete cascade,
    build_id bigint references builds on delete set null,
    filesize bigint not null,
    sha256 text not null,
    metadata_sha256 text not null,
    tag_id integer not null references tags,
    requires_python text,
    dependencies jsonb not null default '{}',
    uploaded timestamptz not null default clock_timestamp()
);
create index files_version on files (version_id);

-- What the web server's log told. A download goes with its file.
create table downloads (
    filename text not null references files on delete cascade,
    accessed_by text,
    accessed_at timestamptz not null,
    arch text, distro_name text, distro_version text, os_name text, os_version text,
    py_name text, py_version text, installer_name text, installer_version text, setuptools_version text
);
create index downloads_file on downloads (filename, accessed_at);
create index downloads_at on downloads (accessed_at);

create table page_hits (
    kind text not null check (kind in ('search', 'project', 'json', 'page')),
    what text not null,
    accessed_by text,
    accessed_at timestamptz not null,
    arch text, distro_name text, distro_version text, os_name text, os_version text,
    py_name text, py_version text, installer_name text, installer_version text, setuptools_version text
);
create index page_hits_at on page_hits (accessed_at);

create table paused_tasks (task text primary key);

-- Pages that have to be written. Whatever changes what a page shows adds it here in the same
-- transaction; the Secretary takes it out when it is on the disk.
create sequence page_notes;

create table pages_backlog (
    kind text not null,
    argument text not null,
    -- A higher one each time that it is due again: who wrote an older state doesn't take out a newer wish.
    note bigint not null default nextval('page_notes'),
    primary key (kind, argument)
);
-- What people install from before the logs of builds.
create index pages_next on pages_backlog ((kind = 'LOG'), note);

-- The build queue: one row for each build that is due. It is kept equal to the view builds_pending
-- by requeue(), in the transaction of every change that matters. A build given out is a lease.
create sequence leases;

create table queue (
    version_id bigint not null references versions on delete cascade,
    target_id integer not null references targets on delete cascade,
    priority smallint not null,
    released timestamptz,
    -- The lease: its number, whose it is (null: the Architect has taken it ahead of need), until when,
    -- and how often this build was given out, this time included.
    lease bigint,
    slave_id bigint,
    leased_until timestamptz,
    attempt integer not null default 0,
    primary key (version_id, target_id)
-- Room on each page for the row of a grant.
) with (fillfactor = 70);
-- The next build is the first of this index.
create index queue_next on queue (target_id, priority desc, released desc nulls last, version_id desc) where lease is null;
create unique index queue_lease on queue (lease) where lease is not null;

-- What should be queued. A version is eligible when it has an sdist and neither it nor its package is
-- skipped, yanked or quarantined. For a target it is a candidate when its requires-python admits the
-- target, no attempt was made for it, and no file of it serves the target. It is due when the target
-- is the lowest candidate of its platform, or when an earlier attempt has yielded a wheel that
-- doesn't serve every target, so that the rest are known to be needed.
create view builds_pending as
with candidates as (
    select v.version_id, t.target_id, v.priority, v.released,
        t.rank, min(t.rank) over (partition by v.version_id, t.platform) as lowest
    from versions v
    join packages p using (package_id)
    cross join targets t
    where v.has_sdist and v.skip is null and v.yanked is null and not v.quarantined
        and p.skip is null and p.status <> 'quarantined'
        and t.skip is null
        and (v.specifier_id is null or exists (
            select from specifier_admits a
            where a.specifier_id = v.specifier_id and a.target_id = t.target_id))
        and not exists (
            select from builds b where b.version_id = v.version_id and b.target_id = t.target_id)
        and not exists (
            select from files f join tag_covers c using (tag_id)
            where f.version_id = v.version_id and c.target_id = t.target_id)
)
select version_id, target_id, priority, released
from candidates c
where rank = lowest
    or exists (
        select from files f
        where f.version_id = c.version_id
            and exists (
                select from targets u
                where u.skip is null and not exists (
                    select from tag_covers k where k.tag_id = f.tag_id and k.target_id = u.target_id)));

-- Makes the queue's rows of these versions what the view says. A row that stays keeps its lease; one
-- that goes takes its lease along, and the slave that holds it is told so at its next word.
create function requeue(ids bigint[]) returns void language plpgsql as $$
begin
    -- A target that is being added holds this lock alone (src/database/targets.ts): either it sees these
    -- versions, or they see it.
    perform pg_advisory_xact_lock_shared(7367033);
    with due as materialized (
        select * from builds_pending where version_id = any (ids)
    ), gone as (
        delete from queue q
        where q.version_id = any (ids)
            and not exists (select from due d where d.version_id = q.version_id and d.target_id = q.target_id)
    )
    insert into queue (version_id, target_id, priority, released)
    select d.version_id, d.target_id, d.priority, d.released
    from due d
    where not exists (
        select from queue q
        where q.version_id = d.version_id and q.target_id = d.target_id
            and (q.priority, q.released) is not distinct from (d.priority, d.released))
    on conflict (version_id, target_id) do update
    set priority = excluded.priority, released = excluded.released;
end
$$;
