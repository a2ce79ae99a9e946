-- What web servers' logs told: rows by month, their sums, and how far each log has been counted.

-- There may be very many rows to bring along.
set local statement_timeout = 0;

-- A row for each download has its file's number, not its name.
alter table files add column file_id bigint generated always as identity unique;

alter table downloads rename to downloads_before;
alter table page_hits rename to page_hits_before;
drop index downloads_file, downloads_at, page_hits_at;

-- Each download, with its file. There is no foreign key, which would look at the file row by row: whoever writes
-- downloads holds off those who delete files (see hold_files), and they take the downloads along.
create table downloads (
    file_id bigint not null,
    accessed_at timestamptz not null,
    -- The address or name of who asked, and the country (ISO 3166) that it is in.
    accessed_by text,
    country text,
    arch text, distro_name text, distro_version text, os_name text, os_version text,
    py_name text, py_version text, installer_name text, installer_version text, setuptools_version text
) partition by range (accessed_at);
create index downloads_file on downloads (file_id);

-- What else was asked for.
create table page_hits (
    kind text not null check (kind in ('search', 'project', 'json', 'page')),
    what text not null,
    accessed_at timestamptz not null,
    accessed_by text,
    country text,
    arch text, distro_name text, distro_version text, os_name text, os_version text,
    py_name text, py_version text, installer_name text, installer_version text, setuptools_version text
) partition by range (accessed_at);

-- What the rows of downloads add up to, kept by the transaction that writes them; days and hours are those of UTC.
-- Of a file, which goes with it; of a package, which stay when its files go; and of the farm, which stay for good.
create table file_downloads (
    file_id bigint primary key,
    downloads bigint not null
) with (fillfactor = 70);
create table download_days (
    package_id bigint not null,
    day date not null,
    downloads bigint not null,
    primary key (package_id, day)
) with (fillfactor = 70);
create index download_days_day on download_days (day);
create table download_hours (
    hour timestamptz primary key,
    downloads bigint not null
) with (fillfactor = 70);

-- Logs of web servers, each with how far it has been counted: moved on by the transaction that writes what stood
-- there, so that nothing is counted twice, whoever reads a log again or sends what he has read again.
create table logs (
    log_id bigint generated always as identity primary key,
    -- What the log begins with, as a digest. There may be several with the same beginning.
    head text not null,
    -- Bytes that are counted, and the digest of the last of them, by which the log is known again.
    upto bigint not null default 0,
    mark text not null default '',
    seen timestamptz not null default now()
);
create index logs_head on logs (head);
-- Of a beginning that is new, only one is there at first, whoever else has just found it.
create unique index logs_new on logs (head) where upto = 0;

-- Makes the partitions of these months, and of the one that comes after the present one, so that none is made
-- at midnight while everybody waits. Done with the rights of who owns the tables: the farm's role may make none.
create function make_log_months(months date[]) returns void language plpgsql security definer as $$
declare
    kind text;
    month date;
    name text;
begin
    foreach kind in array array['downloads', 'page_hits'] loop
        for month in
            select distinct m from (
                select date_trunc('month', m)::date as m from unnest(months) as m
                union
                select (date_trunc('month', now() at time zone 'UTC') + n * interval '1 month')::date
                from generate_series(0, 1) as n) as wanted
            order by m
        loop
            name := kind || '_' || to_char(month, 'YYYYMM');
            continue when to_regclass(quote_ident(name)) is not null;
            perform pg_advisory_xact_lock(7367034);
            execute format('create table if not exists %I partition of %I for values from (%L) to (%L)', name, kind,
                month::timestamp at time zone 'UTC', (month + interval '1 month') at time zone 'UTC');
        end loop;
    end loop;
end
$$;

-- Forgets the rows of all months but the last so many, the present one included; the sums stay.
create function drop_log_months(keep integer) returns integer language plpgsql security definer as $$
declare
    partition regclass;
    dropped integer := 0;
begin
    -- Of two that do this at once the second one finds nothing left.
    perform pg_advisory_xact_lock(7367034);
    for partition in
        select i.inhrelid::regclass from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent in ('downloads'::regclass, 'page_hits'::regclass)
            and c.relname ~ '^(downloads|page_hits)_\d{6}$'
            and substring(c.relname from '\d{6}$') <
                to_char((now() at time zone 'UTC') - (greatest(keep, 1) - 1) * interval '1 month', 'YYYYMM')
    loop
        execute format('drop table %s', partition);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

-- Nobody else's tables can be put in their way.
do $$ begin
    execute format('alter function make_log_months set search_path = %I, pg_temp', current_schema());
    execute format('alter function drop_log_months set search_path = %I, pg_temp', current_schema());
end $$;
revoke execute on function make_log_months, drop_log_months from public;

-- Writers of downloads take this lock shared, and deletes of files take it exclusively, so that no download is
-- inserted for a file that is being deleted.
create function hold_files() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(7367035);
    return null;
end
$$;
create trigger files_held before delete on files for each statement execute function hold_files();

create function forget_downloads() returns trigger language plpgsql as $$
begin
    delete from downloads d using gone g where d.file_id = g.file_id;
    delete from file_downloads d using gone g where d.file_id = g.file_id;
    return null;
end
$$;
alter function forget_downloads set enable_seqscan = off;
create trigger files_deleted after delete on files referencing old table as gone
    for each statement execute function forget_downloads();

create function forget_download_days() returns trigger language plpgsql as $$
begin
    -- A package without a file may still have had one a moment ago.
    perform pg_advisory_xact_lock(7367035);
    delete from download_days where package_id = old.package_id;
    return null;
end
$$;
create trigger packages_downloads_deleted after delete on packages
    for each row execute function forget_download_days();

-- Adds these to the sums. Rows of one table are always locked in the same order. (To update those that are there,
-- and insert the others, takes half the time, and a hundred times as long where the plan was made while the tables were
-- small.)
create function add_downloads(
    file_ids bigint[], file_counts bigint[],
    package_ids bigint[], days date[], day_counts bigint[],
    hours timestamptz[], hour_counts bigint[]
) returns void language plpgsql as $$
begin
    insert into file_downloads as f (file_id, downloads)
    select * from unnest(file_ids, file_counts) as n (file_id, downloads) order by file_id
    on conflict (file_id) do update set downloads = f.downloads + excluded.downloads;
    insert into download_days as d (package_id, day, downloads)
    select * from unnest(package_ids, days, day_counts) as n (package_id, day, downloads) order by package_id, day
    on conflict (package_id, day) do update set downloads = d.downloads + excluded.downloads;
    insert into download_hours as h (hour, downloads)
    select * from unnest(hours, hour_counts) as n (hour, downloads) order by hour
    on conflict (hour) do update set downloads = h.downloads + excluded.downloads;
end
$$;

-- What was there before.
select make_log_months(array(
    select distinct (date_trunc('month', accessed_at at time zone 'UTC'))::date from downloads_before
    union
    select distinct (date_trunc('month', accessed_at at time zone 'UTC'))::date from page_hits_before));
insert into downloads (file_id, accessed_at, accessed_by, arch, distro_name, distro_version, os_name, os_version,
    py_name, py_version, installer_name, installer_version, setuptools_version)
select f.file_id, d.accessed_at, d.accessed_by, d.arch, d.distro_name, d.distro_version, d.os_name, d.os_version,
    d.py_name, d.py_version, d.installer_name, d.installer_version, d.setuptools_version
from downloads_before d join files f using (filename);
insert into page_hits (kind, what, accessed_at, accessed_by, arch, distro_name, distro_version, os_name, os_version,
    py_name, py_version, installer_name, installer_version, setuptools_version)
select kind, what, accessed_at, accessed_by, arch, distro_name, distro_version, os_name, os_version,
    py_name, py_version, installer_name, installer_version, setuptools_version
from page_hits_before;
insert into file_downloads select file_id, count(*) from downloads group by file_id;
insert into download_days
select v.package_id, (d.accessed_at at time zone 'UTC')::date, count(*)
from downloads d join files f using (file_id) join versions v using (version_id) group by 1, 2;
insert into download_hours
select date_trunc('hour', accessed_at at time zone 'UTC') at time zone 'UTC', count(*) from downloads group by 1;
drop table downloads_before, page_hits_before;
