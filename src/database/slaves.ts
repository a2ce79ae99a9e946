import type { Body } from '../protocols/protocol.js';
import type { KillMode } from '../model/slave.js';
import type { OracleVerbs } from '../protocols/oracle.js';
import type { Answer } from '../protocols/protocol.js';
import type { Database, Queryable, SqlRow } from './pool.js';
import { findSetAside } from './slave-health.js';
import { addTarget } from './targets.js';

type SlaveRecord = Omit<Answer<OracleVerbs, 'HELLOSLAVE'>, 'verb'>;

/**
 * Registers a slave's session, and its target if the slave asks for that. Returns the slave's id, which is the same for
 * the same session, whether its target is registered, and what an administrator has ordered it to do.
 */
export async function registerSlave(
  database: Database,
  slave: Body<OracleVerbs, 'HELLOSLAVE'>,
): Promise<SlaveRecord> {
  const [row] = await database.query<
    Omit<SlaveRecord, 'known_target' | 'set_aside'> & SqlRow & { readonly created: boolean }
  >(
    `insert into slaves (nats_user, session, label, abi, platform, py_version_tag, os_name, os_version, board)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict (nats_user, session) do update set label = excluded.label
     returning slave_id, asleep, kill, (xmax = 0) as created`,
    [
      slave.user,
      slave.session,
      slave.label,
      slave.abi,
      slave.platform,
      slave.py_version_tag,
      slave.os_name,
      slave.os_version,
      slave.board,
    ],
  );
  const isTargetRegistered = async () =>
    (
      await database.query('select 1 from targets where abi = $1 and platform = $2', [
        slave.abi,
        slave.platform,
      ])
    ).length > 0;
  if (slave.register && !(await isTargetRegistered())) await addTarget(database, { ...slave, skip: null });
  if (!row) throw new Error('an insert returned no row');
  const { created, ...record } = row;
  return {
    ...record,
    known_target: await isTargetRegistered(),
    set_aside: await findSetAside(database, record.slave_id, created),
  };
}

/** Records an administrator's orders for these slaves; null leaves an order as it is. */
export async function setSlaves(
  db: Queryable,
  slaveIds: readonly number[],
  { asleep, kill }: { readonly asleep: boolean | null; readonly kill: KillMode | null },
): Promise<void> {
  await db.query(
    `update slaves set asleep = coalesce($2, asleep), kill = coalesce($3, kill) where slave_id = any ($1)`,
    [slaveIds, asleep, kill],
  );
}
