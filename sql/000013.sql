-- Failures that are put back into the queue: by an administrator, or because the slave that reported them is sick.

alter table builds
    -- Why this failure no longer counts as an attempt: an administrator put it back (`retry`), or its slave was set
    -- aside and no other slave has confirmed it (`unconfirmed`). Null: it counts.
    add column put_back text check (put_back in ('retry', 'unconfirmed'));

-- The failures that count, in the order in which they are looked through.
create index builds_failed on builds (build_id) where not status and not passing and put_back is null;

-- What should be queued: as before, but a failure that was put back is no attempt. One that an administrator put
-- back waits in the backlog, whatever the priority of its version, so that thousands of them do not hold up the
-- releases of today; one that no other slave has confirmed keeps its version's priority.
create or replace view builds_pending as
with candidates as (
    select o.version_id, o.target_id, o.priority, o.released, o.of_package,
        o.rank, min(o.rank) over (partition by o.version_id, o.platform) as lowest
    from open_targets o
    where not exists (
            select from builds b
            where b.version_id = o.version_id and b.target_id = o.target_id and not b.passing
                and b.put_back is null)
        and not exists (
            select from files f join tag_covers c using (tag_id)
            where f.version_id = o.version_id and c.target_id = o.target_id)
)
select version_id, target_id,
    case when exists (
        select from builds b
        where b.version_id = c.version_id and b.target_id = c.target_id and b.put_back = 'retry')
        then 0::smallint else priority end as priority,
    released, of_package
from candidates c
where rank = lowest
    or exists (
        select from files f
        where f.version_id = c.version_id
            -- As a value: a join might read the tags from end to end for each version.
            and (select reach from tags g where g.tag_id = f.tag_id) = 'all'
            and exists (
                select from targets u
                where c.version_id >= u.filled_from and not exists (
                    select from tag_covers k where k.tag_id = f.tag_id and k.target_id = u.target_id)));

-- As before; a version whose failure was put back, and that is not queued because another target comes first, has
-- not failed.
create or replace view standings as
select v.package_id, v.version_id, t.target_id, t.abi, t.platform, t.rank,
    q.priority, q.lease, q.slave_id, b.build_id, b.failure_class, f.filename,
    case when f.filename is not null then 'built'
        when q.slave_id is not null then 'building'
        when q.version_id is not null then 'waiting'
        when not b.status and b.put_back is null then 'failed'
        else 'none' end as state,
    case when q.lease is not null and q.slave_id is null then q.leased_until end as held_until,
    b.reason, b.remark, b.put_back
from versions v
cross join targets t
left join queue q on q.version_id = v.version_id and q.target_id = t.target_id
left join lateral (
    select build_id, status, failure_class, reason, remark, put_back from builds b
    where b.version_id = v.version_id and b.target_id = t.target_id order by build_id desc limit 1) b on true
left join lateral (
    -- As a value and not as a join, which would read the tags from end to end for each version.
    select filename from files f
    where f.version_id = v.version_id
        and (select true from tag_covers c where c.tag_id = f.tag_id and c.target_id = t.target_id)
    order by filename limit 1) f on true;
