-- The log of a build goes with the build, whatever deletes it: its page is due, and a Scribe that finds no such build
-- removes what stands there.
create function note_deleted_builds() returns trigger language plpgsql as $$
begin
    insert into pages_backlog (kind, argument)
    select 'LOG', build_id::text as argument from deleted order by argument
    on conflict (kind, argument) do update set note = excluded.note;
    return null;
end
$$;
create trigger builds_deleted after delete on builds referencing old table as deleted
    for each statement execute function note_deleted_builds();
