-- What people are told of a build beside its class and its log, and what a wheel's METADATA says.

alter table builds
    -- Why it failed, in a sentence; null for a success, and for builds logged before this column existed.
    add column reason text,
    -- What is unusual about a success.
    add column remark text,
    -- What it was made from and with: see Provenance in src/model/fields.ts.
    add column provenance jsonb;

-- See CoreMetadata in src/model/fields.ts; null for files published before this column existed.
alter table files add column core_metadata jsonb;

-- As before, with the three new columns.
drop function log_builds;
create function log_builds(
    leases bigint[], slaves bigint[], names text[], numbers text[], abis text[], platforms text[],
    statuses boolean[], classes text[], durations float8[], outputs text[],
    retries integer[], fresh boolean[], delay float8,
    reasons text[], remarks text[], provenances jsonb[]
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
                retries, fresh, reasons, remarks, provenances)
            with ordinality
            as g (lease, slave_id, package, version, abi, platform, status, failure_class, duration, output,
                retries, fresh, reason, remark, provenance, place)
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
        insert into builds (version_id, target_id, lease, slave_id, duration, status, failure_class, output, passing,
            reason, remark, provenance)
        select f.version_id, f.target_id, f.lease, f.slave_id, f.duration * interval '1 second', f.status,
            f.failure_class, f.output, f.again is not null,
            f.reason, f.remark, f.provenance
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

-- As before, with the sentences of the newest build.
create or replace view standings as
select v.package_id, v.version_id, t.target_id, t.abi, t.platform, t.rank,
    q.priority, q.lease, q.slave_id, b.build_id, b.failure_class, f.filename,
    case when f.filename is not null then 'built'
        when q.slave_id is not null then 'building'
        when q.version_id is not null then 'waiting'
        when not b.status then 'failed'
        else 'none' end as state,
    case when q.lease is not null and q.slave_id is null then q.leased_until end as held_until,
    b.reason, b.remark
from versions v
cross join targets t
left join queue q on q.version_id = v.version_id and q.target_id = t.target_id
left join lateral (
    select build_id, status, failure_class, reason, remark from builds b
    where b.version_id = v.version_id and b.target_id = t.target_id order by build_id desc limit 1) b on true
left join lateral (
    -- As a value and not as a join, which would read the tags from end to end for each version.
    select filename from files f
    where f.version_id = v.version_id
        and (select true from tag_covers c where c.tag_id = f.tag_id and c.target_id = t.target_id)
    order by filename limit 1) f on true;
