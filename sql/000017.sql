-- Files that the database no longer lists and that may still be under the output path. The index must stop naming a file
-- before it is removed, so the two are not one step: a row is written by the transaction that deletes the file's row,
-- and deleted once the file is gone. What Mr Chase did not get to, because a process or a server ended, is removed when
-- the request is repeated, or by his next sweep.
create table file_removals (
    filename text primary key,
    package text not null,
    unlisted_at timestamptz not null default clock_timestamp()
);
create index file_removals_package on file_removals (package);
