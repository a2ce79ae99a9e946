-- Every name that a wheel was ever published under, with the bytes that it stands for. Lock files, caches and mirrors
-- hold on to both, also after the wheel was removed, so nothing is ever deleted from here.

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
