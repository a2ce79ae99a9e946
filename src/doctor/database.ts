import { userInfo } from 'node:os';
import { discoverFarm, otherInstallationError } from '../actor/identity.js';
import type { Settings } from '../config.js';
import { installationRegistry } from '../database/installation.js';
import { checkSchemaVersion } from '../database/migrations.js';
import type { Queryable } from '../database/pool.js';
import {
  lacksPrivileges,
  readClock,
  readEncoding,
  refuseReadOnly,
  refuseSuperuser,
} from '../database/role.js';
import { rethrowUnexpected, type PiwError } from '../errors.js';
import { isReachable, findingOf, type Check, type DoctorContext, type Finding } from './check.js';

/** A larger difference between two machines' clocks makes logs and statistics misleading. */
const MAX_CLOCK_DIFFERENCE_MS = 10_000;

const isMaster = ({ roles }: DoctorContext): boolean => roles.has('master');

export const databaseConnection: Check = {
  name: 'database',
  applies: isMaster,
  run: async ({ database, settings }) => {
    try {
      await database();
      return [];
    } catch (error) {
      rethrowUnexpected(error);
      return [findingOf(error, databaseFix(error, settings))];
    }
  },
};

function databaseFix({ code, message, advice }: PiwError, settings: Settings): string {
  const { host, port, name, role } = partsOf(settings.dsn);
  switch (code) {
    case 'PIW_NO_DATABASE':
      return `${asPostgres(settings, `createdb${portOption(port)} ${name}`)} && ${initdbCommand(settings)}`;
    case 'PIW_NO_ROLE':
      return `${asPostgres(settings, `createuser${portOption(port)} ${role}`)} && ${initdbCommand(settings)}`;
    case 'PIW_DATABASE_LOGIN':
      return `set dsn (or dsn-file) to the role and password that pg_hba.conf allows; over the local socket, run it as the user of that name: sudo -u ${role} piw doctor`;
    case 'PIW_DATABASE':
      if (/ENOTFOUND|EAI_AGAIN/.test(message))
        return `correct the host ${host} in dsn, or make its name known: DNS, or /etc/hosts`;
      if (message.includes('for role'))
        return psqlCommand(settings, `alter role "${role}" connection limit -1`);
      if (message.includes('too many'))
        return `${psqlCommand(settings, 'alter system set max_connections = 200')}, and then sudo systemctl restart postgresql`;
      return `start PostgreSQL${isLocal(host) ? '' : ` on ${host}`} (sudo systemctl start postgresql), or set dsn to its address`;
    default:
      return advice;
  }
}

/** The parts of a DSN that commands on PostgreSQL's own host need; without its password. */
function partsOf(dsn: string) {
  const url = URL.canParse(dsn) ? new URL(dsn) : new URL('postgres:///');
  const role = url.username === '' ? userInfo().username : decodeURIComponent(url.username);
  return {
    host: url.searchParams.get('host') ?? url.hostname,
    port: url.port === '' ? (url.searchParams.get('port') ?? '5432') : url.port,
    name: decodeURIComponent(url.pathname.slice(1)) || role,
    role,
  };
}

const isLocal = (host: string): boolean => /^(|localhost|127\..*|\[?::1\]?|\/.*)$/.test(host);
const portOption = (port: string): string => (port === '5432' ? '' : ` -p ${port}`);

/** Returns a command for the superuser of PostgreSQL, which is to be typed on its host. */
function asPostgres({ dsn }: Settings, command: string): string {
  const { host } = partsOf(dsn);
  return `${isLocal(host) ? '' : `on ${host}: `}sudo -u postgres ${command}`;
}

const psqlCommand = (settings: Settings, sql: string): string =>
  asPostgres(settings, `psql${portOption(partsOf(settings.dsn).port)} -c '${sql}'`);

const createDatabase = (settings: Settings): string =>
  asPostgres(settings, `createdb${portOption(partsOf(settings.dsn).port)} -E UTF8 -T template0 piw`);

/** Returns the command that creates or upgrades the tables, and grants the role of the DSN what it needs. */
function initdbCommand(settings: Settings): string {
  const { port, name, role } = partsOf(settings.dsn);
  const dsn = port === '5432' ? `postgres:///${name}` : `'postgres:///${name}?port=${port}'`;
  return asPostgres(settings, `piw initdb -c /dev/null -d ${dsn} -u ${role} -y`);
}

export const databaseSchema: Check = {
  name: 'schema',
  applies: isMaster,
  run: async ({ database, settings }) => {
    if (!(await isReachable(database))) return [];
    const findings: Finding[] = [];
    const db = await database();
    const initdb = initdbCommand(settings);
    try {
      // Without any right, the tables look as if they were not there.
      if (await lacksPrivileges(db))
        findings.push({ problem: 'the role of the DSN may not write to the tables', fix: initdb });
      else await checkSchemaVersion(db);
    } catch (error) {
      rethrowUnexpected(error);
      findings.push(findingOf(error, schemaFix(error, settings)));
    }
    try {
      if (!settings['allow-superuser']) await refuseSuperuser(db);
    } catch (error) {
      rethrowUnexpected(error);
      findings.push(
        findingOf(
          error,
          `${asPostgres(settings, `createuser${portOption(partsOf(settings.dsn).port)} ${settings.user}`)}, and set dsn to that role (or, if other superusers exist: ${psqlCommand(settings, `alter role "${partsOf(settings.dsn).role}" nosuperuser`)})`,
        ),
      );
    }
    findings.push(...(await stateFindings(db, settings)));
    return findings;
  },
};

function schemaFix({ code, advice }: PiwError, settings: Settings): string {
  if (code === 'PIW_DATABASE_VERSION') return initdbCommand(settings);
  return code === 'PIW_DATABASE_FOREIGN'
    ? `${createDatabase(settings)}, and set dsn to that database`
    : advice;
}

/** Returns what keeps a farm from storing every name and every build in this database. */
async function stateFindings(db: Queryable, settings: Settings): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const { name } = partsOf(settings.dsn);
  try {
    await refuseReadOnly(db);
  } catch (error) {
    rethrowUnexpected(error);
    findings.push(
      findingOf(
        error,
        error.message.includes('standby')
          ? `set dsn to the primary server, or, if this one is to replace it: ${psqlCommand(settings, 'select pg_promote()')}`
          : psqlCommand(settings, `alter database "${name}" set default_transaction_read_only = off`),
      ),
    );
  }
  const encoding = await readEncoding(db);
  if (encoding !== 'UTF8')
    findings.push({
      problem: `the database ${name} has the encoding ${encoding}, which lacks characters of names and logs`,
      fix: `${createDatabase(settings)}, and set dsn to that database`,
    });
  return findings;
}

export const databaseOwner: Check = {
  name: 'identity',
  applies: isMaster,
  run: async ({ bus, database }) => {
    if (!(await isReachable(bus)) || !(await isReachable(database))) return [];
    try {
      const [connection, db] = [await bus(), await database()];
      const [record, farm] = [await installationRegistry(db).read(), await discoverFarm(connection)];
      if (record === undefined || farm === undefined || farm.installation === record.id) return [];
      const { message } = otherInstallationError(connection, farm, record);
      return [{ problem: message, fix: 'set prefix to a name of its own for each farm, or correct dsn' }];
    } catch (error) {
      // The checks of the version and of the schema report these.
      rethrowUnexpected(error);
      return [];
    }
  },
};

export const databaseClock: Check = {
  name: 'clock',
  applies: isMaster,
  run: async ({ database }) => {
    if (!(await isReachable(database))) return [];
    const before = Date.now();
    const theirs = await readClock(await database());
    const difference = theirs - (before + Date.now()) / 2;
    if (Math.abs(difference) <= MAX_CLOCK_DIFFERENCE_MS) return [];
    return [
      {
        problem: `the database's clock is ${Math.round(Math.abs(difference) / 1000)} s ${difference > 0 ? 'ahead of' : 'behind'} this machine's`,
        fix: 'sudo timedatectl set-ntp true, on both machines',
      },
    ];
  },
};
