-- An index that is followed as a whole, and a queue that is kept right while it is large and busy.

-- How far the followed index has been read. One row.
create table feed (
    id integer primary key default 1 check (id = 1),
    -- Every event up to this serial has been acted upon.
    serial bigint not null default 0,
    -- The highest serial that was read; those between the two were not yet old enough when this was written.
    read_serial bigint not null default 0,
    -- The newest event that was acted upon, in the order of events: by time (seconds), then by serial.
    cut_time bigint not null default 0,
    cut_serial bigint not null default 0,
    -- When everything was last compared with the index's root.
    compared timestamptz,
    -- A removal of so many packages at once waits for an administrator's word; null: none waits.
    held integer,
    -- The administrator's word: up to so many may go.
    accepted integer not null default 0
);
insert into feed (serial) select coalesce((select pypi_serial from configuration), 0);
alter table configuration drop column pypi_serial;

alter table packages
    -- Since when the index has it no more; what is gone is not built, and not offered.
    add column gone timestamptz,
    -- Since when its page can't be found, while nothing else says that it is gone.
    add column missing timestamptz,
    -- An event said that it was removed, and no page was seen of it since.
    add column removed boolean not null default false,
    -- The serial of the page that its rows were last compared with: earlier events tell nothing new.
    add column page_serial bigint not null default 0,
    -- The same of PyPI's list of all releases, which alone tells of those without a file.
    add column list_serial bigint not null default 0,
    add column etag text,
    add column looked timestamptz;
create index packages_gone on packages (gone) where gone is not null;
create index packages_by_name on packages (package collate "C") where origin = 'feed' and gone is null;

alter table versions
    add column gone timestamptz,
    add column missing timestamptz;
create index versions_gone on versions (gone) where gone is not null;

-- Pages of the index that are to be read, the urgent ones first: for what events leave out, or because
-- something may have been missed. `not_before` is later after each try that failed.
create table looks (
    package_id bigint primary key references packages on delete cascade,
    urgent boolean not null,
    not_before timestamptz not null default now(),
    tries integer not null default 0,
    -- A page older than this one doesn't show yet what is looked for.
    serial bigint not null default 0
);
create index looks_next on looks (urgent desc, not_before);

-- A target takes part for the versions from this number up: so one is added or skipped in slices, the
-- newest versions first, while builds are handed out. 0: for all; the largest number: for none.
alter table targets
    add column filled_from bigint not null default 0,
    -- It is to be forgotten once it takes part for none.
    add column leaving boolean not null default false;
update targets set filled_from = 9223372036854775807 where skip is not null;

-- Whose version it is, so that a package with thousands doesn't hold up all others.
alter table queue add column of_package bigint;
update queue q set of_package = v.package_id from versions v where v.version_id = q.version_id;
alter table queue alter column of_package set not null;

-- The keys to versions and targets cost more than all else of a new row: whoever deletes a version deletes
-- its rows, by the trigger below, and a target is deleted only when it has none any more.
alter table queue drop constraint queue_version_id_fkey, drop constraint queue_target_id_fkey;

create function forget_queued() returns trigger language plpgsql as $$
begin
    delete from queue where version_id = old.version_id;
    return null;
end
$$;
create trigger versions_deleted after delete on versions for each row execute function forget_queued();

-- The same for versions and their packages: of millions that come in a row, a look for each at the package
-- that was just locked is a tenth of the work. Whoever adds versions holds their packages.
alter table versions drop constraint versions_package_id_fkey;
create function forget_versions() returns trigger language plpgsql as $$
begin
    delete from versions where package_id = old.package_id;
    return null;
end
$$;
create trigger packages_deleted after delete on packages for each row execute function forget_versions();

-- Versions, each with the targets that it could be built for. A version is eligible when it has an sdist
-- and neither it nor its package is skipped, yanked, quarantined or gone. A target is open to it when it
-- takes part, and its requires-python admits the target.
create view open_targets as
select v.version_id, t.target_id, v.priority, v.released, v.package_id as of_package, t.rank, t.platform
from versions v
join packages p using (package_id)
cross join targets t
where v.has_sdist and v.skip is null and v.yanked is null and not v.quarantined and v.gone is null
    and p.skip is null and p.status <> 'quarantined' and p.gone is null
    and v.version_id >= t.filled_from
    and (v.specifier_id is null or exists (
        select from specifier_admits a
        where a.specifier_id = v.specifier_id and a.target_id = t.target_id));

-- What should be queued. A candidate is an open target for which no attempt was made, and that no file of
-- the version serves. It is due when it is the lowest candidate of its platform, or when an earlier
-- attempt has yielded a wheel that doesn't serve every target, so that the rest are known to be needed.
drop view builds_pending;
create view builds_pending as
with candidates as (
    select o.version_id, o.target_id, o.priority, o.released, o.of_package,
        o.rank, min(o.rank) over (partition by o.version_id, o.platform) as lowest
    from open_targets o
    where not exists (
            select from builds b where b.version_id = o.version_id and b.target_id = o.target_id)
        and not exists (
            select from files f join tag_covers c using (tag_id)
            where f.version_id = o.version_id and c.target_id = o.target_id)
)
select version_id, target_id, priority, released, of_package
from candidates c
where rank = lowest
    or exists (
        select from files f
        where f.version_id = c.version_id
            and exists (
                select from targets u
                where c.version_id >= u.filled_from and not exists (
                    select from tag_covers k where k.tag_id = f.tag_id and k.target_id = u.target_id)));

-- The same for versions that were made in this transaction, of which there are neither builds nor files:
-- the lowest open target of each platform.
create function fill_new(ids bigint[]) returns void language plpgsql as $$
begin
    insert into queue (version_id, target_id, priority, released, of_package)
    select distinct on (version_id, platform) version_id, target_id, priority, released, of_package
    from open_targets
    where version_id = any (ids)
    order by version_id, platform, rank;
end
$$;

-- Two transactions that change the same version don't see each other's changes: if one logs a build while the
-- other deletes one, each would refresh the queue from its own snapshot, and the result would be wrong. So a
-- transaction locks a version before it refreshes the version's rows of the queue, and keeps the lock until it
-- commits.
--
-- Locks versions in the order of their ids, so that two transactions can't deadlock. Also takes the lock of the
-- targets, shared; adding a target takes it exclusively for a moment, so that either the new target's transaction
-- sees these versions, or this transaction sees the new target.
create function hold_versions(ids bigint[]) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(7367033);
    perform from versions where version_id = any (ids) order by version_id for no key update;
end
$$;

-- Makes the queue's rows of these versions, which the caller holds, what the view says. A row that stays
-- keeps its lease; one that goes takes its lease along, and the slave that holds it is told so at its
-- next word.
create function refill(ids bigint[]) returns void language plpgsql as $$
begin
    with due as materialized (
        select * from builds_pending where version_id = any (ids)
    ), gone as (
        delete from queue q
        where q.version_id = any (ids)
            and not exists (select from due d where d.version_id = q.version_id and d.target_id = q.target_id)
    )
    insert into queue (version_id, target_id, priority, released, of_package)
    select d.version_id, d.target_id, d.priority, d.released, d.of_package
    from due d
    where not exists (
        select from queue q
        where q.version_id = d.version_id and q.target_id = d.target_id
            and (q.priority, q.released) is not distinct from (d.priority, d.released))
    on conflict (version_id, target_id) do update
    set priority = excluded.priority, released = excluded.released;
end
$$;

-- The two together. Two statements, for the second must see what was committed while the first waited: with
-- READ COMMITTED each statement of a function looks anew.
create or replace function requeue(ids bigint[]) returns void language plpgsql as $$
begin
    perform hold_versions(ids);
    perform refill(ids);
end
$$;

-- Writes the results of builds, whose versions it holds; the queue is made right by the caller. What becomes
-- of each: see logBuilds in src/database/builds.ts.
create function log_builds(
    leases bigint[], slaves bigint[], names text[], numbers text[], abis text[], platforms text[],
    statuses boolean[], classes text[], durations float8[], outputs text[]
) returns table (at integer, version_id bigint, outcome text, build_id bigint) language plpgsql as $$
#variable_conflict use_column
begin
    perform hold_versions(array(
        select version_id from queue where lease = any (leases) and lease is not null
        union
        select version_id from unnest(leases, names, numbers) as g (lease, package, version)
        join packages using (package) join versions using (package_id, version)
        where g.lease is null));
    return query
    with given as (
        select * from unnest(leases, slaves, names, numbers, abis, platforms, statuses, classes, durations, outputs)
            with ordinality
            as g (lease, slave_id, package, version, abi, platform, status, failure_class, duration, output, place)
    ), held as (
        select q.lease, q.slave_id, q.version_id, q.target_id from queue q
        where q.lease = any (leases) and q.lease is not null for update
    ), looked as (
        -- Each by its key, whatever a plan that was made for small tables would rather do.
        select g.*,
            (select v.version_id from packages p join versions v using (package_id)
                where p.package = g.package and v.version = g.version) as version_id,
            (select t.target_id from targets t where t.abi = g.abi and t.platform = g.platform) as target_id,
            (select b.build_id from builds b where b.lease = g.lease) as before
        from given g
    ), found as (
        select l.*,
            l.lease is null or exists (
                select from held h where h.lease = l.lease and h.slave_id = l.slave_id
                    and h.version_id = l.version_id and h.target_id = l.target_id) as sound
        from looked l
    ), inserted as (
        insert into builds (version_id, target_id, lease, slave_id, duration, status, failure_class, output)
        select f.version_id, f.target_id, f.lease, f.slave_id, f.duration * interval '1 second', f.status,
            f.failure_class, f.output
        from found f
        where f.sound and f.before is null and f.version_id is not null and f.target_id is not null
        returning build_id, version_id, target_id, lease
    )
    select (f.place - 1)::integer, f.version_id,
        case when i.build_id is not null then 'logged' when f.before is not null then 'repeated' else 'lost' end,
        coalesce(i.build_id, f.before)
    from found f
    left join inserted i on i.version_id = f.version_id and i.target_id = f.target_id
        and i.lease is not distinct from f.lease and f.before is null;
end
$$;
alter function log_builds set plan_cache_mode = force_generic_plan;
alter function log_builds set enable_seqscan = off;

-- The plan of these is the same for one version as for thousands, and making it anew costs more than a
-- batch of builds does. They are never to read a table from end to end, however small it was when the plan
-- was made.
alter function hold_versions set plan_cache_mode = force_generic_plan;
alter function hold_versions set enable_seqscan = off;
alter function refill set plan_cache_mode = force_generic_plan;
alter function refill set enable_seqscan = off;
alter function fill_new set plan_cache_mode = force_generic_plan;
alter function fill_new set enable_seqscan = off;

-- A target that leaves is forgotten build by build.
create index builds_target on builds (target_id, build_id);
-- A build that is deleted is taken out of its files, which would be looked for one by one.
create index files_build on files (build_id);

-- Where each version stands on each target: its row of the queue, its latest build there, a file that serves
-- the target, and what all that comes to. It is asked for the versions of a package, and looks for each by key.
create view standings as
select v.package_id, v.version_id, t.target_id, t.abi, t.platform, t.rank,
    q.priority, q.lease, q.slave_id, b.build_id, b.failure_class, f.filename,
    case when f.filename is not null then 'built'
        when q.slave_id is not null then 'building'
        when q.version_id is not null then 'waiting'
        when not b.status then 'failed'
        else 'none' end as state
from versions v
cross join targets t
left join queue q on q.version_id = v.version_id and q.target_id = t.target_id
left join lateral (
    select build_id, status, failure_class from builds b
    where b.version_id = v.version_id and b.target_id = t.target_id order by build_id desc limit 1) b on true
left join lateral (
    -- As a value and not as a join, which would read the tags from end to end for each version.
    select filename from files f
    where f.version_id = v.version_id
        and (select true from tag_covers c where c.tag_id = f.tag_id and c.target_id = t.target_id)
    order by filename limit 1) f on true;
