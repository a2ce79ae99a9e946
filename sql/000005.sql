-- What the simple index says of itself, so that mirrors can follow it by difference.

-- The packages that the root of the simple index names, each with the serial of its page as it stands on the
-- disk. A name comes in once its page is written, and goes before its page does. By name alone, and without a
-- key to packages: the root's writer reads it from end to end, and one that is forgotten has to leave it, too.
create table listed (
    package text collate "C" primary key,
    serial bigint not null
);

-- Serials of pages are given out a thousand at a time, so that none is ever given out twice.
create sequence serials increment by 1000 start 1000;

-- Pages that people install from before the rest. What shows all packages is due after every start by itself.
delete from pages_backlog where kind in ('SEARCH', 'SITEMAP');
drop index pages_next;
create index pages_next on pages_backlog ((kind in ('LOG', 'PROJECT', 'PACK')), note);

-- What stands on the disk from before there were serials: all of it is written anew.
insert into listed (package, serial)
select p.package, 1 from packages p
where p.status <> 'quarantined' and exists (
    select from versions v join files f using (version_id) where v.package_id = p.package_id);
insert into pages_backlog (kind, argument)
select case when l.package is null then 'PROJECT' else 'PKG' end, p.package
from packages p left join listed l using (package)
on conflict do nothing;
-- And of each build's log there is a page, too.
insert into pages_backlog (kind, argument) select 'LOG', build_id::text from builds on conflict do nothing;
