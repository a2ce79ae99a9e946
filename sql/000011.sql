-- A Requires-Python that installers can't read as version specifiers, as `>=3.`, makes uv pass over every file that
-- carries it. New files are published without it; those of before lose it here, and their pages are written again.

with cleared as (
    update files set requires_python = null
    where requires_python !~ '^(\s*((~=|==|!=|<=|>=|<|>|===)\s*[vV]?(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev)[-_.]?\d*)*(\.\*)?)?\s*(,|$))+$'
    returning version_id
)
insert into pages_backlog (kind, argument)
select distinct 'PKG', package from cleared join versions using (version_id) join packages using (package_id)
on conflict do nothing;
