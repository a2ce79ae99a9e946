-- Figures that are ready when they are asked for, however large the tables are, and what they were.

-- Of a farm with a hundred million builds the sums below take longer than any other statement may.
set local statement_timeout = 0;

-- What the changes come to that were summed up: of the whole farm, or (queue) of a target. Builds and downloads are
-- all that ever were, also where they are forgotten by now; everything else is what is there.
create table figures (
    figure text not null,
    -- 0: it is of no target.
    target_id integer not null default 0,
    value bigint not null,
    primary key (figure, target_id)
);

-- Changes that aren't summed up yet. Each transaction only adds rows of its own: none waits for another one, as
-- all would for the row of a sum. sum_up() moves them into the sums.
create table figure_changes (
    figure text not null,
    target_id integer not null default 0,
    -- The minute (of builds) or hour (of downloads), for what has a history.
    at timestamptz,
    change bigint not null
);

-- The same by minute, hour, day and month, in UTC. Minutes are kept for two days and hours for 400, the rest for ever.
create table history (
    step text not null check (step in ('minute', 'hour', 'day', 'month')),
    began timestamptz not null,
    figure text not null,
    value bigint not null,
    primary key (step, began, figure)
);

-- Sums and what isn't summed up yet, together: they are right at every moment.
create view figures_now as
select figure, target_id, sum(value)::bigint as value
from (
    select figure, target_id, value from figures
    union all
    select figure, target_id, change from figure_changes) a
group by figure, target_id;

-- Several rows for one step, where something isn't summed up yet.
create view history_now as
select step, began, figure, value from history
union all
select step, date_trunc(step, at, 'UTC'), figure, change
from figure_changes cross join (values ('minute'), ('hour'), ('day'), ('month')) s (step)
where at is not null;

-- Sums up `most` changes; how many there were. What was summed up is deleted by the same statement, so that
-- nothing is counted twice, whoever else does this at the same time.
create function sum_up(most integer) returns integer language plpgsql as $$
declare
    count_of integer;
begin
    with summed as (
        delete from figure_changes where ctid = any (array(select ctid from figure_changes limit most))
        returning figure, target_id, at, change
    ), of_all as (
        insert into figures as f (figure, target_id, value)
        select figure, target_id, sum(change) from summed group by figure, target_id order by figure, target_id
        on conflict (figure, target_id) do update set value = f.value + excluded.value
    ), of_steps as (
        insert into history as h (step, began, figure, value)
        select step, date_trunc(step, at, 'UTC') as began, figure, sum(change)
        from summed cross join (values ('minute'), ('hour'), ('day'), ('month')) s (step)
        where at is not null
        group by step, began, figure order by step, began, figure
        on conflict (step, began, figure) do update set value = h.value + excluded.value
    )
    select count(*) into count_of from summed;
    delete from history
    where (step = 'minute' and began < now() - interval '2 days')
        or (step = 'hour' and began < now() - interval '400 days');
    return count_of;
end
$$;

-- Rows that have come or gone, by the name of the figure.
create function count_rows() returns trigger language plpgsql as $$
begin
    insert into figure_changes (figure, change)
    select tg_argv[0], case tg_op when 'INSERT' then count(*) else -count(*) end from changed having count(*) > 0;
    return null;
end
$$;
create trigger packages_came after insert on packages referencing new table as changed
    for each statement execute function count_rows('packages');
create trigger packages_went after delete on packages referencing old table as changed
    for each statement execute function count_rows('packages');
create trigger versions_came after insert on versions referencing new table as changed
    for each statement execute function count_rows('versions');
create trigger versions_went after delete on versions referencing old table as changed
    for each statement execute function count_rows('versions');

-- Rows of the queue: what waits for a target are these, without those that its slaves have.
create function count_queue() returns trigger language plpgsql as $$
begin
    insert into figure_changes (figure, target_id, change)
    select 'queue', target_id, case tg_op when 'INSERT' then count(*) else -count(*) end
    from changed group by target_id;
    return null;
end
$$;
create trigger queue_came after insert on queue referencing new table as changed
    for each statement execute function count_queue();
create trigger queue_went after delete on queue referencing old table as changed
    for each statement execute function count_queue();

-- Builds that have ended. That one is forgotten later takes nothing away.
create function count_builds() returns trigger language plpgsql as $$
begin
    insert into figure_changes (figure, at, change)
    select figure, minute, builds
    from (
        select date_trunc('minute', built_at, 'UTC') as minute, count(*) as ended,
            count(*) filter (where not status and not passing) as failed, count(*) filter (where passing) as retried
        from changed group by 1) c
    cross join lateral (values ('builds', ended), ('builds_failed', failed), ('builds_retried', retried)) f (figure, builds)
    where builds > 0;
    return null;
end
$$;
create trigger builds_ended after insert on builds referencing new table as changed
    for each statement execute function count_builds();

-- Downloads that are new. What is taken out of download_hours stays here.
create function count_downloads() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into figure_changes (figure, at, change) select 'downloads', hour, downloads from changed;
    else
        insert into figure_changes (figure, at, change)
        select 'downloads', hour, c.downloads - b.downloads from changed c join before b using (hour);
    end if;
    return null;
end
$$;
create trigger downloads_came after insert on download_hours referencing new table as changed
    for each statement execute function count_downloads();
create trigger downloads_grew after update on download_hours referencing old table as before new table as changed
    for each statement execute function count_downloads();

-- How many files there are of each package; of one without any there is no row.
create table package_files (
    package_id bigint primary key,
    files bigint not null
);

create function count_new_files() returns trigger language plpgsql as $$
begin
    with given as (
        select v.package_id, count(*) as files
        from changed c join versions v on v.version_id = c.version_id group by v.package_id
    ), made as (
        insert into package_files as p (package_id, files)
        select package_id, files from given order by package_id
        on conflict (package_id) do update set files = p.files + excluded.files
        returning package_id, files
    )
    insert into figure_changes (figure, change)
    select figure, change
    from (select count(*) as files, sum(filesize) as bytes from changed) c
    cross join (select count(*) as first from made join given using (package_id, files)) m
    cross join lateral (values ('files', files), ('files_bytes', bytes), ('packages_built', first)) f (figure, change)
    where change > 0;
    return null;
end
$$;
create trigger files_came after insert on files referencing new table as changed
    for each statement execute function count_new_files();

create function count_gone_files() returns trigger language plpgsql as $$
declare
    ids bigint[];
    last bigint;
begin
    if not exists (select from changed) then
        return null;
    end if;
    with given as (
        select v.package_id, count(*) as files
        from changed c join versions v on v.version_id = c.version_id group by v.package_id
    ), less as (
        update package_files p set files = p.files - g.files from given g where p.package_id = g.package_id
        returning p.package_id
    )
    select array_agg(package_id) into ids from less;
    with emptied as (
        delete from package_files where package_id = any (ids) and files = 0 returning package_id
    )
    select count(*) into last from emptied;
    insert into figure_changes (figure, change)
    select figure, -change
    from (select count(*) as files, sum(filesize) as bytes from changed) c
    cross join lateral (values ('files', files), ('files_bytes', bytes), ('packages_built', last)) f (figure, change)
    where change > 0;
    return null;
end
$$;
create trigger files_went after delete on files referencing old table as changed
    for each statement execute function count_gone_files();

-- The files of a version go before it does, while it can still be told whose they are.
create function forget_files() returns trigger language plpgsql as $$
begin
    delete from files where version_id = old.version_id;
    return old;
end
$$;
create trigger versions_deleting before delete on versions for each row execute function forget_files();

-- Like those of the queue, they never read a table from end to end, however small it was when their plans were made.
alter function count_new_files set enable_seqscan = off;
alter function count_gone_files set enable_seqscan = off;
alter function forget_files set enable_seqscan = off;

-- The downloads of each package in 30 days, today included: what download_days came to when they were last summed.
create table package_month (
    package_id bigint primary key,
    downloads bigint not null
);
create index package_month_most on package_month (downloads desc, package_id);

-- When that was, and how long it took.
create table month_summed (
    id integer primary key default 1 check (id = 1),
    at timestamptz,
    took interval
);
insert into month_summed default values;

-- Names in the order in which pages of them are asked for: of all packages, where there was an index of some.
drop index packages_by_name;
create index packages_by_name on packages (package collate "C");

-- When the newest of what the index has told came, of whatever kind of feed.
alter table feed add column last_event timestamptz;

-- What there is already. The triggers keep everybody else from changing it until this is done.
insert into figures (figure, value)
select 'packages', count(*) from packages
union all select 'versions', count(*) from versions;
insert into figures (figure, target_id, value) select 'queue', target_id, count(*) from queue group by target_id;
insert into figures (figure, value)
select f.figure, f.value from (select count(*) as files, coalesce(sum(filesize), 0) as bytes from files) c
cross join lateral (values ('files', files), ('files_bytes', bytes)) f (figure, value);
insert into package_files
select package_id, count(*) from files join versions using (version_id) group by package_id;
insert into figures (figure, value) select 'packages_built', count(*) from package_files;
insert into history
select 'hour', hour, figure, value
from (
    select date_trunc('hour', built_at, 'UTC') as hour, count(*) as ended,
        count(*) filter (where not status and not passing) as failed, count(*) filter (where passing) as retried
    from builds group by 1) c
cross join lateral (values ('builds', ended), ('builds_failed', failed), ('builds_retried', retried)) f (figure, value)
where value > 0;
insert into history select 'hour', date_trunc('hour', hour, 'UTC'), 'downloads', sum(downloads) from download_hours group by 2;
insert into history
select s.step, date_trunc(s.step, began, 'UTC'), figure, sum(value)
from history cross join (values ('day'), ('month')) s (step) group by 1, 2, 3;
insert into figures (figure, value) select figure, sum(value) from history where step = 'month' group by figure;
insert into history
select 'minute', minute, figure, value
from (
    select date_trunc('minute', built_at, 'UTC') as minute, count(*) as ended,
        count(*) filter (where not status and not passing) as failed, count(*) filter (where passing) as retried
    from builds where built_at > now() - interval '2 days' group by 1) c
cross join lateral (values ('builds', ended), ('builds_failed', failed), ('builds_retried', retried)) f (figure, value)
where value > 0;
