-- An installation has an identity, by which two farms that meet on one NATS prefix or in one database know it.

create table installation (
    one boolean primary key default true check (one),
    id uuid not null default gen_random_uuid(),
    -- The machine on which the tables were made, for people; see migrations.ts.
    name text not null default '',
    made timestamptz not null default now(),
    -- The NATS servers and the prefix of the farm that is at work here, and a process of it; null: none is.
    holder text,
    holder_host text,
    holder_since timestamptz,
    -- Goes up every few seconds while it is. Compared with itself, never with a clock.
    beat bigint not null default 0
);
insert into installation default values;
