-- Every filename under which a wheel was ever published, with the SHA-256 of its contents. Lock files, caches and
-- mirrors remember both, even after the wheel was removed, so no row is ever deleted from this table.

-- The normalised project name and the version in a wheel's filename, separated by a space.
create function wheel_stem(filename text) returns text language sql immutable as $$
    select lower(regexp_replace(split_part(filename, '-', 1), '[-_.]+', '-', 'g') || ' ' || split_part(filename, '-', 2))
$$;

create table published (
    filename text primary key,
    sha256 text not null,
    first_published timestamptz not null default now()
);
create index published_stem on published (wheel_stem(filename));

insert into published (filename, sha256, first_published) select filename, sha256, uploaded from files;
