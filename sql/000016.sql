-- Renames tables, columns, functions and triggers to the words that PostgreSQL, queues and Python packaging use.
-- Nothing is rewritten: only the catalogue changes. Functions whose text names a renamed thing are defined again.

-- The views are created again below, with the new names.
drop view builds_pending, open_targets, standings;

-- Fetches of project pages that are queued.
alter table looks rename to page_fetches;
alter table page_fetches rename column tries to attempts;
alter table page_fetches rename constraint looks_pkey to page_fetches_pkey;
alter table page_fetches rename constraint looks_package_id_fkey to page_fetches_package_id_fkey;
alter index looks_next rename to page_fetches_next;

-- The packages that the root of the simple index lists.
alter table listed rename to listed_packages;
alter table listed_packages rename constraint listed_pkey to listed_packages_pkey;

-- Every filename under which a wheel was ever published.
alter table published rename to published_files;
alter table published_files rename constraint published_pkey to published_files_pkey;
alter index published_stem rename to published_files_stem;

-- When the index removed a package or a version; since when its page, or the version on that page, can't be found;
-- whether an event reported the removal and no page was seen since; and when the page was last fetched.
alter table packages rename column gone to removed_at;
alter table packages rename column missing to missing_since;
alter table packages rename column removed to removal_reported;
alter table packages rename column looked to fetched_at;
alter index packages_gone rename to packages_removed;
alter table versions rename column gone to removed_at;
alter table versions rename column missing to missing_since;
alter index versions_gone rename to versions_removed;

-- The package of a queued version.
alter table queue rename column of_package to package_id;

-- A transient failure is retried, and doesn't count as an attempt. Nor does a requeued one: `retry`, an administrator
-- has requeued it; `unconfirmed`, its slave is set aside and no other slave has confirmed it. Null: it counts.
alter table builds rename column passing to transient;
alter table builds rename column put_back to requeue_reason;
alter table builds rename constraint builds_put_back_check to builds_requeue_reason_check;

-- A page gets a higher revision each time it becomes due, so that whoever wrote an older state doesn't remove a newer
-- request.
alter table pages_backlog rename column note to revision;
alter sequence page_notes rename to page_revisions;
-- For an hour, migration 8 didn't create this function and its index: a database that was created then gets both here.
do $$ begin
    if to_regproc('lane_of') is null then
        create function lane_of(kind text) returns text language sql immutable as $f$
    select case when kind in ('LOG', 'PACK') then 'rest' when kind = 'PROJECT' then 'projects' else 'front' end
$f$;
        drop index pages_next;
        create index pages_next on pages_backlog (lane_of(kind), revision);
    end if;
end $$;
alter function lane_of rename to page_priority;

alter table installation rename column beat to heartbeat;
alter table installation rename column made to created_at;

-- The package or the address that was requested.
alter table page_hits rename column what to resource;

alter function count_gone_files rename to count_deleted_files;
alter function fill_new rename to queue_new_versions;
alter function forget_download_days rename to delete_download_days;
alter function forget_downloads rename to delete_downloads;
alter function forget_files rename to delete_files;
alter function forget_queued rename to delete_queue_rows;
alter function forget_versions rename to delete_versions;
alter function hold_files rename to lock_files;
alter function hold_versions rename to lock_versions;
alter function note_deleted_builds rename to mark_deleted_logs_due;
alter function refill rename to refresh_queue;

-- Triggers of one event run in the order of their names: files_deleted still runs before files_deleted_counted.
alter trigger builds_ended on builds rename to builds_inserted_counted;
alter trigger downloads_came on download_hours rename to downloads_inserted_counted;
alter trigger downloads_grew on download_hours rename to downloads_updated_counted;
alter trigger files_came on files rename to files_inserted_counted;
alter trigger files_held on files rename to files_locked;
alter trigger files_went on files rename to files_deleted_counted;
alter trigger packages_came on packages rename to packages_inserted_counted;
alter trigger packages_went on packages rename to packages_deleted_counted;
alter trigger queue_came on queue rename to queue_inserted_counted;
alter trigger queue_went on queue rename to queue_deleted_counted;
alter trigger versions_came on versions rename to versions_inserted_counted;
alter trigger versions_went on versions rename to versions_deleted_counted;

-- Versions, each with the targets for which it could be built. A version is eligible when it has an sdist and neither
-- it nor its package is skipped, yanked, quarantined or removed from the index. A target is eligible for it when the
-- queue is filled for the target that far, and its requires-python admits the target.
create view eligible_targets as
select v.version_id, t.target_id, v.priority, v.released, v.package_id, t.rank, t.platform
from versions v
join packages p using (package_id)
cross join targets t
where v.has_sdist and v.skip is null and v.yanked is null and not v.quarantined and v.removed_at is null
    and p.skip is null and p.status <> 'quarantined' and p.removed_at is null
    and v.version_id >= t.filled_from
    and (v.specifier_id is null or exists (
        select from specifier_admits a
        where a.specifier_id = v.specifier_id and a.target_id = t.target_id));

-- What should be queued. A candidate is an eligible target for which no attempt was made that counts, and that no file
-- of the version serves. It is due when it is the lowest candidate of its platform, or when an earlier attempt has
-- yielded a wheel that doesn't serve every target, so that the others are known to be needed. A wheel that serves only
-- PyPy or free-threaded Pythons says nothing about the others.
--
-- A failure that an administrator requeued waits in the backlog, whatever the priority of its version, so that
-- thousands of them do not hold up the releases of today; one that no other slave has confirmed keeps its version's
-- priority.
create view builds_pending as
with candidates as (
    select e.version_id, e.target_id, e.priority, e.released, e.package_id,
        e.rank, min(e.rank) over (partition by e.version_id, e.platform) as lowest
    from eligible_targets e
    where not exists (
            select from builds b
            where b.version_id = e.version_id and b.target_id = e.target_id and not b.transient
                and b.requeue_reason is null)
        and not exists (
            select from files f join tag_covers c using (tag_id)
            where f.version_id = e.version_id and c.target_id = e.target_id)
)
select version_id, target_id,
    case when exists (
        select from builds b
        where b.version_id = c.version_id and b.target_id = c.target_id and b.requeue_reason = 'retry')
        then 0::smallint else priority end as priority,
    released, package_id
from candidates c
where rank = lowest
    or exists (
        select from files f
        where f.version_id = c.version_id
            -- As a value: a join might scan all tags for each version.
            and (select reach from tags g where g.tag_id = f.tag_id) = 'all'
            and exists (
                select from targets u
                where c.version_id >= u.filled_from and not exists (
                    select from tag_covers k where k.tag_id = f.tag_id and k.target_id = u.target_id)));

-- The state of each version on each target: its row of the queue, its latest build there, a file that serves the
-- target, and what they add up to. Queried for the versions of a package; each part is looked up by key. A version
-- whose failure was requeued, and that is not queued because another target comes first, has not failed.
create view build_states as
select v.package_id, v.version_id, t.target_id, t.abi, t.platform, t.rank,
    q.priority, q.lease, q.slave_id, b.build_id, b.failure_class, f.filename,
    case when f.filename is not null then 'built'
        when q.slave_id is not null then 'building'
        when q.version_id is not null then 'waiting'
        when not b.status and b.requeue_reason is null then 'failed'
        else 'none' end as state,
    case when q.lease is not null and q.slave_id is null then q.leased_until end as held_until,
    b.reason, b.remark, b.requeue_reason
from versions v
cross join targets t
left join queue q on q.version_id = v.version_id and q.target_id = t.target_id
left join lateral (
    select build_id, status, failure_class, reason, remark, requeue_reason from builds b
    where b.version_id = v.version_id and b.target_id = t.target_id order by build_id desc limit 1) b on true
left join lateral (
    -- As a value and not as a join, which would scan all tags for each version.
    select filename from files f
    where f.version_id = v.version_id
        and (select true from tag_covers c where c.tag_id = f.tag_id and c.target_id = t.target_id)
    order by filename limit 1) f on true;

-- Makes the queue's rows of these versions, which the caller has locked, equal to builds_pending. A row that stays
-- keeps its lease. One that is deleted takes its lease along, and the slave that holds it learns so with its next
-- message. A build that is held back until its retry belongs to no slave; it is released early if it has become more
-- urgent, because an administrator requested it.
create or replace function refresh_queue(ids bigint[]) returns void language plpgsql as $$
begin
    with due as materialized (
        select * from builds_pending where version_id = any (ids)
    ), deleted as (
        delete from queue q
        where q.version_id = any (ids)
            and not exists (select from due d where d.version_id = q.version_id and d.target_id = q.target_id)
    )
    insert into queue as q (version_id, target_id, priority, released, package_id)
    select d.version_id, d.target_id, d.priority, d.released, d.package_id
    from due d
    where not exists (
        select from queue q
        where q.version_id = d.version_id and q.target_id = d.target_id
            and (q.priority, q.released) is not distinct from (d.priority, d.released))
    on conflict (version_id, target_id) do update
    set priority = excluded.priority, released = excluded.released,
        lease = case when q.slave_id is null and excluded.priority > q.priority then null else q.lease end;
end
$$;

-- Locks the versions, then refreshes the queue: in two statements, because the second has to see what was committed
-- while the first waited, and with READ COMMITTED each statement of a function has a snapshot of its own.
create or replace function requeue(ids bigint[]) returns void language plpgsql as $$
begin
    perform lock_versions(ids);
    perform refresh_queue(ids);
end
$$;

-- Queues versions that were inserted in this transaction and have neither builds nor files: for the lowest eligible
-- target of each platform.
create or replace function queue_new_versions(ids bigint[]) returns void language plpgsql as $$
begin
    insert into queue (version_id, target_id, priority, released, package_id)
    select distinct on (version_id, platform) version_id, target_id, priority, released, package_id
    from eligible_targets
    where version_id = any (ids)
    order by version_id, platform, rank;
end
$$;

-- Logs the results of builds and locks their versions; the caller refreshes the queue. For the outcomes, see logBuilds
-- in src/database/builds.ts. A failure is transient while retries are left (with `recent_only`: only within a day of
-- the release). Its build is then held back, for `delay` seconds the first time, and five times as long each further
-- time, at most a day.
drop function log_builds;
create function log_builds(
    leases bigint[], slaves bigint[], packages text[], versions text[], abis text[], platforms text[],
    statuses boolean[], classes text[], durations float8[], outputs text[],
    retries integer[], recent_only boolean[], delay float8,
    reasons text[], remarks text[], provenances jsonb[]
) returns table (at integer, version_id bigint, outcome text, build_id bigint, retry_after_s float8)
language plpgsql as $$
#variable_conflict use_column
begin
    perform lock_versions(array(
        select version_id from queue where lease = any (leases) and lease is not null
        union
        select version_id from unnest(leases, log_builds.packages, log_builds.versions) as r (lease, package, version)
        join packages using (package) join versions using (package_id, version)
        where r.lease is null));
    return query
    with results as (
        select * from unnest(leases, slaves, log_builds.packages, log_builds.versions, abis, platforms, statuses,
                classes, durations, outputs, retries, recent_only, reasons, remarks, provenances)
            with ordinality
            as r (lease, slave_id, package, version, abi, platform, status, failure_class, duration, output,
                retries, recent_only, reason, remark, provenance, place)
    ), held as (
        select q.lease, q.slave_id, q.version_id, q.target_id from queue q
        where q.lease = any (leases) and q.lease is not null for update
    ), resolved as (
        -- Each by its key, whatever a plan for small tables would prefer.
        select r.*,
            (select v.version_id from packages p join versions v using (package_id)
                where p.package = r.package and v.version = r.version) as version_id,
            (select t.target_id from targets t where t.abi = r.abi and t.platform = r.platform) as target_id,
            (select b.build_id from builds b where b.lease = r.lease) as logged_before
        from results r
    ), checked as (
        select r.*,
            r.lease is null or exists (
                select from held h where h.lease = r.lease and h.slave_id = r.slave_id
                    and h.version_id = r.version_id and h.target_id = r.target_id) as valid,
            case when r.status or r.lease is null or r.retries = 0 then null
                when r.recent_only and not exists (
                    select from versions v
                    where v.version_id = r.version_id and v.released > now() - interval '1 day') then null
                else (select count(*) from builds b
                    where b.version_id = r.version_id and b.target_id = r.target_id and b.transient) end as retried
        from resolved r
    ), scheduled as (
        select c.*,
            case when c.retried < c.retries then least(delay * 5 ^ least(c.retried, 10), 86400) end as retry_after_s
        from checked c
    ), inserted as (
        insert into builds (version_id, target_id, lease, slave_id, duration, status, failure_class, output, transient,
            reason, remark, provenance)
        select s.version_id, s.target_id, s.lease, s.slave_id, s.duration * interval '1 second', s.status,
            s.failure_class, s.output, s.retry_after_s is not null,
            s.reason, s.remark, s.provenance
        from scheduled s
        where s.valid and s.logged_before is null and s.version_id is not null and s.target_id is not null
        returning build_id, version_id, target_id, lease
    ), held_back as (
        update queue q
        set lease = nextval('leases'), slave_id = null,
            leased_until = clock_timestamp() + s.retry_after_s * interval '1 second'
        from inserted i join scheduled s on s.lease = i.lease
        where q.lease = i.lease and s.retry_after_s is not null
    )
    select (s.place - 1)::integer, s.version_id,
        case when i.build_id is not null then 'logged'
            when s.logged_before is not null then 'repeated' else 'lost' end,
        coalesce(i.build_id, s.logged_before), case when i.build_id is not null then s.retry_after_s end
    from scheduled s
    left join inserted i on i.version_id = s.version_id and i.target_id = s.target_id
        and i.lease is not distinct from s.lease and s.logged_before is null;
end
$$;

-- A function that is replaced loses its settings. The plans of these are the same for one version as for thousands, and
-- must not scan a table, however small it was when the plan was made.
alter function refresh_queue set plan_cache_mode = force_generic_plan;
alter function refresh_queue set enable_seqscan = off;
alter function queue_new_versions set plan_cache_mode = force_generic_plan;
alter function queue_new_versions set enable_seqscan = off;
alter function log_builds set plan_cache_mode = force_generic_plan;
alter function log_builds set enable_seqscan = off;

-- Counts builds that have ended. Deleting one later doesn't lower the count.
create or replace function count_builds() returns trigger language plpgsql as $$
begin
    insert into figure_changes (figure, at, change)
    select figure, minute, builds
    from (
        select date_trunc('minute', built_at, 'UTC') as minute, count(*) as ended,
            count(*) filter (where not status and not transient) as failed,
            count(*) filter (where transient) as retried
        from changed group by 1) c
    cross join lateral (values ('builds', ended), ('builds_failed', failed), ('builds_retried', retried)) f (figure, builds)
    where builds > 0;
    return null;
end
$$;

-- Marks the log page of a deleted build as due: a Scribe that finds no such build deletes the page.
create or replace function mark_deleted_logs_due() returns trigger language plpgsql as $$
begin
    insert into pages_backlog (kind, argument)
    select 'LOG', build_id::text as argument from deleted order by argument
    on conflict (kind, argument) do update set revision = excluded.revision;
    return null;
end
$$;

-- Deletes the downloads of deleted files.
drop trigger files_deleted on files;
create or replace function delete_downloads() returns trigger language plpgsql as $$
begin
    delete from downloads d using deleted f where d.file_id = f.file_id;
    delete from file_downloads d using deleted f where d.file_id = f.file_id;
    return null;
end
$$;
alter function delete_downloads set enable_seqscan = off;
create trigger files_deleted after delete on files referencing old table as deleted
    for each statement execute function delete_downloads();
