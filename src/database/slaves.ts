import type { Body } from '../protocols/protocol.js';
import type { OracleVerbs } from '../protocols/oracle.js';
import type { Database } from './pool.js';
import { addTarget } from './targets.js';

/** The slave's number, the same one for the same session, and whether anything is built for its target. */
export async function helloSlave(
  database: Database,
  slave: Body<OracleVerbs, 'HELLOSLAVE'>,
): Promise<{ slave_id: number; known_target: boolean }> {
  const [row] = await database.query<{ slave_id: number }>(
    `insert into slaves (nats_user, session, label, abi, platform, py_version_tag, os_name, os_version, board)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict (nats_user, session) do update set label = excluded.label
     returning slave_id`,
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
  const known = async () =>
    (
      await database.query('select 1 from targets where abi = $1 and platform = $2', [
        slave.abi,
        slave.platform,
      ])
    ).length > 0;
  if (slave.register && !(await known())) await addTarget(database, { ...slave, skip: null });
  return { slave_id: row?.slave_id ?? 0, known_target: await known() };
}
