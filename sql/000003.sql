-- Failures that pass are tried again; what administrators wish of slaves outlives the Slave Driver.

-- It may well end otherwise on another day or another slave: no attempt, as far as the queue goes.
alter table builds add column passing boolean not null default false;

-- What an administrator wishes of a slave.
alter table slaves
    add column asleep boolean not null default false,
    -- BYE: `now`, or after what it builds.
    add column kill text check (kill in ('now', 'after'));

create or replace view builds_pending as
with candidates as (
    select o.version_id, o.target_id, o.priority, o.released, o.of_package,
        o.rank, min(o.rank) over (partition by o.version_id, o.platform) as lowest
    from open_targets o
    where not exists (
            select from builds b
            where b.version_id = o.version_id and b.target_id = o.target_id and not b.passing)
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

-- A build that is held back, until it is tried again, is nobody's lease. It ends early where the build became
-- more urgent meanwhile: an administrator asked for it.
create or replace function refill(ids bigint[]) returns void language plpgsql as $$
begin
    with due as materialized (
        select * from builds_pending where version_id = any (ids)
    ), gone as (
        delete from queue q
        where q.version_id = any (ids)
            and not exists (select from due d where d.version_id = q.version_id and d.target_id = q.target_id)
    )
    insert into queue as q (version_id, target_id, priority, released, of_package)
    select d.version_id, d.target_id, d.priority, d.released, d.of_package
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
-- A function that is replaced keeps none of its settings.
alter function refill set plan_cache_mode = force_generic_plan;
alter function refill set enable_seqscan = off;

-- Writes the results of builds, whose versions it holds; the queue is made right by the caller. What becomes
-- of each: see logBuilds in src/database/builds.ts. A failure passes while there are retries left (`fresh`: only
-- within a day of the release): then its build is held back, for `delay` seconds the first time, and five times
-- as long each further time, at most a day.
drop function log_builds;
create function log_builds(
    leases bigint[], slaves bigint[], names text[], numbers text[], abis text[], platforms text[],
    statuses boolean[], classes text[], durations float8[], outputs text[],
    retries integer[], fresh boolean[], delay float8
) returns table (at integer, version_id bigint, outcome text, build_id bigint, again float8) language plpgsql as $$
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
        select * from unnest(leases, slaves, names, numbers, abis, platforms, statuses, classes, durations, outputs,
                retries, fresh)
            with ordinality
            as g (lease, slave_id, package, version, abi, platform, status, failure_class, duration, output,
                retries, fresh, place)
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
                    and h.version_id = l.version_id and h.target_id = l.target_id) as sound,
            case when l.status or l.lease is null or l.retries = 0 then null
                when l.fresh and not exists (
                    select from versions v
                    where v.version_id = l.version_id and v.released > now() - interval '1 day') then null
                else (select count(*) from builds b
                    where b.version_id = l.version_id and b.target_id = l.target_id and b.passing) end as tried
        from looked l
    ), judged as (
        select f.*,
            case when f.tried < f.retries then least(delay * 5 ^ least(f.tried, 10), 86400) end as again
        from found f
    ), inserted as (
        insert into builds (version_id, target_id, lease, slave_id, duration, status, failure_class, output, passing)
        select f.version_id, f.target_id, f.lease, f.slave_id, f.duration * interval '1 second', f.status,
            f.failure_class, f.output, f.again is not null
        from judged f
        where f.sound and f.before is null and f.version_id is not null and f.target_id is not null
        returning build_id, version_id, target_id, lease
    ), put_back as (
        update queue q
        set lease = nextval('leases'), slave_id = null,
            leased_until = clock_timestamp() + f.again * interval '1 second'
        from inserted i join judged f on f.lease = i.lease
        where q.lease = i.lease and f.again is not null
    )
    select (f.place - 1)::integer, f.version_id,
        case when i.build_id is not null then 'logged' when f.before is not null then 'repeated' else 'lost' end,
        coalesce(i.build_id, f.before), case when i.build_id is not null then f.again end
    from judged f
    left join inserted i on i.version_id = f.version_id and i.target_id = f.target_id
        and i.lease is not distinct from f.lease and f.before is null;
end
$$;
alter function log_builds set plan_cache_mode = force_generic_plan;
alter function log_builds set enable_seqscan = off;

-- The same, and until when a build is held back after a failure that passes.
create or replace view standings as
select v.package_id, v.version_id, t.target_id, t.abi, t.platform, t.rank,
    q.priority, q.lease, q.slave_id, b.build_id, b.failure_class, f.filename,
    case when f.filename is not null then 'built'
        when q.slave_id is not null then 'building'
        when q.version_id is not null then 'waiting'
        when not b.status then 'failed'
        else 'none' end as state,
    case when q.lease is not null and q.slave_id is null then q.leased_until end as held_until
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
