-- A pure wheel that a package falls back to on PyPy, or without a GIL, doesn't keep its extension from being built for
-- CPython.

-- Which kinds of Python a wheel serves of those that its tags admit, of which tag_covers has the sum: `all`, or
-- `pypy` or `free-threaded` or both, joined with a dot. See reachOf in src/wheels/tags.ts. For a few days
-- migration 3 did this: a database that was created then already has the column, and is left as it is.
create temporary table narrowed (
    filename text, version_id bigint, py text, abi text, platform text, reach text
) on commit drop;
do $$ begin
    if exists (
        select from pg_attribute where attrelid = 'tags'::regclass and attname = 'reach' and not attisdropped
    ) then
        return;
    end if;
    alter table tags
        add column reach text not null default 'all',
        drop constraint tags_py_abi_platform_key,
        add unique (py, abi, platform, reach);

    -- The same of pure wheels that PyPy and free-threaded slaves have built before there was a reach.
    create temporary table of_kind on commit drop as
    select target_id, case when rank >= 2000000 then 'pypy' else 'free-threaded' end as kind
    from targets where rank >= 1000000;
    insert into narrowed
    select f.filename, f.version_id, g.py, g.abi, g.platform, k.kind as reach
    from files f join tags g using (tag_id) join builds b using (build_id) join of_kind k using (target_id)
    where g.abi = 'none' and g.platform = 'any' and b.lease is not null;
    insert into tags (py, abi, platform, reach) select distinct py, abi, platform, reach from narrowed;
    insert into tag_covers
    select n.tag_id, c.target_id
    from tags n join tags g using (py, abi, platform) join tag_covers c on c.tag_id = g.tag_id
        join of_kind k on k.target_id = c.target_id and k.kind = n.reach
    where g.reach = 'all' and n.reach <> 'all';
    update files f set tag_id = g.tag_id
    from narrowed n join tags g using (py, abi, platform, reach) where f.filename = n.filename;
end $$;

-- What should be queued. A candidate is an open target for which no attempt was made that counts, and that no
-- file of the version serves. It is due when it is the lowest candidate of its platform, or when an earlier
-- attempt has yielded a wheel that doesn't serve every target, so that the rest are known to be needed. What a
-- package falls back to tells nothing of the rest.
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
            -- As a value: a join might read the tags from end to end for each version.
            and (select reach from tags g where g.tag_id = f.tag_id) = 'all'
            and exists (
                select from targets u
                where c.version_id >= u.filled_from and not exists (
                    select from tag_covers k where k.tag_id = f.tag_id and k.target_id = u.target_id)));

select requeue(array(select version_id from narrowed));
