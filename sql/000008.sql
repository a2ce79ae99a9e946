-- An administrator's yank is kept, whatever an index says of the version.
alter table versions add column yank_kept boolean not null default false;
