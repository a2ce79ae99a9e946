-- An administrator's yank is kept, whatever an index says of the version.
alter table versions add column yank_kept boolean not null default false;

-- Pages that people install from before those that they read, and these before a storm's thousands of logs.
create function lane_of(kind text) returns text language sql immutable as $$
    select case when kind in ('LOG', 'PACK') then 'rest' when kind = 'PROJECT' then 'projects' else 'front' end
$$;
drop index pages_next;
create index pages_next on pages_backlog (lane_of(kind), note);
