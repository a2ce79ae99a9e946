import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { Database } from '../../src/database/pool.js';

/** Returns the DSN of a role that may create databases, on the tests' PostgreSQL. */
export function adminDsn(): string {
  const dsn = process.env['PIW_TEST_DSN'];
  if (dsn === undefined) throw new Error('PIW_TEST_DSN is not set: run the tests with npm test');
  return dsn;
}

/** A database with piw's tables, of which tests get copies: see servers.ts. */
export const TEMPLATE_DATABASE = 'piw_template';

interface TestDatabase {
  readonly db: Database;
  readonly dsn: string;
}

/** Creates a database with piw's tables for this test, which drops it at its end. */
export async function testDatabase(t: Test): Promise<TestDatabase> {
  const database = await createDatabase(t, TEMPLATE_DATABASE);
  await database.db.query('update installation set id = gen_random_uuid()');
  return database;
}

/** Creates an empty database for this test, which drops it at its end. */
export async function emptyDatabase(t: Test): Promise<TestDatabase> {
  return await createDatabase(t, 'template1');
}

async function createDatabase(t: Test, template: string): Promise<TestDatabase> {
  const name = `t${randomBytes(6).toString('hex')}`;
  const admin = await Database.open(adminDsn(), 'test');
  // Copying the template's files needs a fifth of the processor time of copying its blocks through the log (from
  // PostgreSQL 15 on the default).
  const [version] = await admin.query<{ number: number }>(
    `select current_setting('server_version_num')::int as number`,
  );
  const strategy = (version?.number ?? 0) >= 150_000 ? 'strategy file_copy' : '';
  await admin.query(`create database ${name} template ${template} ${strategy}`);
  const url = new URL(adminDsn());
  url.pathname = `/${name}`;
  const db = await Database.open(url.href, t.name);
  t.teardown(async () => {
    await db.close();
    await admin.query(`drop database ${name} with (force)`);
    await admin.close();
  });
  return { db, dsn: url.href };
}
