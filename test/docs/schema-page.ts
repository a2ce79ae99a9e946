/** docs/schema.md: the tables of a farm, read from the catalog of a database that piw initdb has filled. */
import { completeInstallation } from '../../src/database/migrations.js';
import type { Database, Queryable } from '../../src/database/pool.js';
import { cell, code, page, sentence, table } from './markdown.js';
import { FUNCTIONS, SEQUENCES, TABLES, VIEWS } from './schema-texts.js';

/** The role to which the rights of a master are granted, in a transaction that is rolled back. */
const ROLE = 'piw_documented_role';

interface Relation extends Readonly<Record<string, unknown>> {
  readonly name: string;
  readonly kind: 'table' | 'view' | 'sequence';
  /** By which column it is partitioned. */
  readonly partitioned: string | null;
  /** Whether it belongs to an identity column. */
  readonly internal: boolean;
}

interface Column extends Readonly<Record<string, unknown>> {
  readonly relation: string;
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly fallback: string | null;
}

interface Detail extends Readonly<Record<string, unknown>> {
  readonly relation: string;
  readonly definition: string;
}

interface DatabaseFunction extends Readonly<Record<string, unknown>> {
  readonly name: string;
  readonly arguments: string;
  readonly result: string;
  readonly definer: boolean;
}

interface Right extends Readonly<Record<string, unknown>> {
  readonly kind: string;
  readonly rights: string;
  readonly objects: number;
}

class Undo extends Error {}

/** `db`: a new database of piw, whose role may create roles. Nothing in it is changed. */
export async function schemaPage(db: Database): Promise<string> {
  const schema = {
    relations: await db.query<Relation>(RELATIONS),
    columns: await db.query<Column>(COLUMNS),
    constraints: await db.query<Detail>(CONSTRAINTS),
    indexes: await db.query<Detail>(INDEXES),
    triggers: await db.query<Detail>(TRIGGERS),
    functions: await db.query<DatabaseFunction>(FUNCTION_QUERY),
  };
  const namesOf = (kind: Relation['kind']) =>
    schema.relations.filter((each) => each.kind === kind && !each.internal).map(({ name }) => name);
  checkNames('tables', namesOf('table'), Object.keys(TABLES));
  checkNames('views', namesOf('view'), Object.keys(VIEWS));
  checkNames('sequences', namesOf('sequence'), Object.keys(SEQUENCES));
  checkNames(
    'functions',
    schema.functions.map(({ name }) => name),
    Object.keys(FUNCTIONS),
  );

  const columnTable = (relation: string): string => {
    const columns = schema.columns.filter((column) => column.relation === relation);
    const texts = TABLES[relation]?.columns ?? {};
    const names = columns.map(({ name }) => name);
    const unknown = Object.keys(texts).filter((name) => !names.includes(name));
    if (unknown.length > 0) throw new Error(`${relation} has no column ${unknown.join(', ')}`);
    return table([
      ['column', 'type', 'default', 'meaning'],
      ...columns.map(({ name, type, nullable, fallback }) => [
        code(name),
        `${type}${nullable ? ' or null' : ''}`,
        fallback === null ? '' : code(cell(fallback)),
        sentence(texts[name] ?? ''),
      ]),
    ]);
  };
  const list = (title: string, details: readonly Detail[], relation: string): readonly string[] => {
    const own = details.filter((detail) => detail.relation === relation);
    return own.length === 0
      ? []
      : [`${title}:`, own.map(({ definition }) => `- ${code(definition)}`).join('\n')];
  };

  return page(
    'The schema',
    'The tables of a farm in PostgreSQL, as [piw initdb](commands/initdb.md) creates them from the migrations in [sql/](../sql), read from the catalog of a real database. Two tasks use them, over connections of their own: [The Oracle](actors/the-oracle.md) and [The Architect](actors/the-architect.md). Programs of yours may read them, but should ask the Oracle to change anything: [db](protocols/db.md).',
    '- [Tables](#tables)\n- [Views](#views)\n- [Sequences](#sequences)\n- [Functions](#functions)\n- [Rights](#rights)',
    '## Tables',
    ...namesOf('table').flatMap((name) => {
      const partitioned = schema.relations.find((each) => each.name === name)?.partitioned;
      return [
        `### ${name}`,
        TABLES[name]?.text ?? '',
        columnTable(name),
        ...(partitioned ? [`Partitioned by ${code(partitioned)}.`] : []),
        ...list('Constraints', schema.constraints, name),
        ...list('Indexes', schema.indexes, name),
        ...list('Triggers', schema.triggers, name),
      ];
    }),
    '## Views',
    ...namesOf('view').flatMap((name) => [`### ${name}`, VIEWS[name] ?? '', columnTable(name)]),
    '## Sequences',
    'Besides those of identity columns:',
    table([
      ['sequence', 'meaning'],
      ...namesOf('sequence').map((name) => [code(name), sentence(SEQUENCES[name] ?? '')]),
    ]),
    '## Functions',
    table([
      ['function', 'arguments', 'returns', 'what it does'],
      ...schema.functions.map(({ name, arguments: args, result, definer }) => [
        code(name),
        cell(args),
        cell(result),
        `${cell(FUNCTIONS[name] ?? '')}${definer ? ' (`security definer`)' : ''}`,
      ]),
    ]),
    '## Rights',
    'What `piw initdb --user NAME` grants to the role of a master, which owns nothing, creates nothing and is no superuser:',
    table([
      ['on', 'how many', 'rights'],
      ...(await grantedRights(db)).map(({ kind, rights, objects }) => [kind, String(objects), rights]),
    ]),
    'Partitions of `downloads` and `page_hits` are created and dropped by the two functions that run with the rights of their owner.',
  );
}

function checkNames(kind: string, existing: readonly string[], described: readonly string[]): void {
  const wrong = [
    ...existing.filter((name) => !described.includes(name)),
    ...described.filter((name) => !existing.includes(name)),
  ];
  if (wrong.length > 0)
    throw new Error(`${kind} in the database or in schema-texts.ts alone: ${wrong.join(', ')}`);
}

/** Returns the rights that a role gets, from the catalog. */
async function grantedRights(db: Database): Promise<readonly Right[]> {
  let rights: readonly Right[] = [];
  try {
    await db.transaction(async (transaction: Queryable) => {
      await transaction.query(`create role ${ROLE}`);
      await completeInstallation(transaction, ROLE);
      rights = await transaction.query<Right>(RIGHTS, [ROLE]);
      throw new Undo();
    });
  } catch (error) {
    if (!(error instanceof Undo)) throw error;
  }
  return rights;
}

const SCHEMA = 'current_schema()::regnamespace';

const RELATIONS = `
  select c.relname as name,
    case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end as kind,
    pg_get_partkeydef(c.oid) as partitioned,
    c.relkind = 'S' and exists (
      select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'i'
    ) as internal
  from pg_class c
  where c.relnamespace = ${SCHEMA} and c.relkind in ('r', 'p', 'v', 'S') and not c.relispartition
  order by c.relname collate "C"`;

const COLUMNS = `
  select c.relname as relation, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
    not a.attnotnull and c.relkind <> 'v' as nullable,
    case when a.attidentity <> '' then 'generated as identity' else pg_get_expr(d.adbin, d.adrelid) end as fallback
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  where c.relnamespace = ${SCHEMA} and c.relkind in ('r', 'p', 'v')
  order by a.attnum`;

const CONSTRAINTS = `
  select c.relname as relation, pg_get_constraintdef(o.oid) as definition
  from pg_constraint o join pg_class c on c.oid = o.conrelid
  where c.relnamespace = ${SCHEMA} and o.contype in ('p', 'u', 'f', 'c')
  order by array_position('{p,u,f,c}'::"char"[], o.contype), o.conname collate "C"`;

const INDEXES = `
  select c.relname as relation,
    regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX (\\S+) ON \\S+ USING ', '\\2: \\1') as definition
  from pg_index i join pg_class c on c.oid = i.indrelid
  where c.relnamespace = ${SCHEMA} and not exists (select from pg_constraint o where o.conindid = i.indexrelid)
  order by i.indexrelid::regclass::text collate "C"`;

const TRIGGERS = `
  select c.relname as relation,
    regexp_replace(pg_get_triggerdef(t.oid, true), '^CREATE TRIGGER (\\S+) (.*) ON \\S+( .*)? FOR EACH ', '\\1: \\2\\3 FOR EACH ') as definition
  from pg_trigger t join pg_class c on c.oid = t.tgrelid
  where c.relnamespace = ${SCHEMA} and not t.tgisinternal
  order by t.tgname collate "C"`;

const FUNCTION_QUERY = `
  select p.proname as name, pg_get_function_identity_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result,
    p.prosecdef as definer
  from pg_proc p where p.pronamespace = ${SCHEMA} order by p.proname collate "C"`;

/** Objects by kind and by the privileges that the role $1 has on them. */
const RIGHTS = `
  select kind, rights, count(*) as objects
  from (
    select place, kind, name, string_agg(lower(privilege_type), ', ' order by privilege_type) as rights
    from (
      select 1 as place, 'the schema' as kind, nspname::text as name, nspacl as acl from pg_namespace where oid = ${SCHEMA}
      union all
      select case relkind when 'S' then 4 when 'v' then 3 else 2 end,
        case relkind when 'S' then 'sequences' when 'v' then 'views' else 'tables' end, relname, relacl
      from pg_class where relnamespace = ${SCHEMA} and relkind in ('r', 'p', 'v', 'S') and not relispartition
      union all
      select 5, 'functions', oid::regprocedure::text, proacl from pg_proc where pronamespace = ${SCHEMA}
    ) objects, aclexplode(acl) privilege
    where privilege.grantee = to_regrole($1)
    group by place, kind, name
  ) by_object
  group by place, kind, rights
  order by place, rights`;
