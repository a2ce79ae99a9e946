import { discoverFarm, otherInstallationError } from '../actor/identity.js';
import { installationRegistry } from '../database/installation.js';
import { checkSchemaVersion } from '../database/migrations.js';
import { lacksPrivileges, readClock, refuseSuperuser } from '../database/role.js';
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
      return [findingOf(error, databaseFix(error, settings.user))];
    }
  },
};

function databaseFix({ code, advice }: PiwError, user: string): string {
  if (code === 'PIW_NO_DATABASE')
    return `sudo -u postgres createdb NAME, and then sudo -u postgres piw initdb -d DSN -u ${user}`;
  return code === 'PIW_DATABASE'
    ? 'start PostgreSQL (sudo systemctl start postgresql), or set dsn to its address'
    : advice;
}

export const databaseSchema: Check = {
  name: 'schema',
  applies: isMaster,
  run: async ({ database, settings }) => {
    if (!(await isReachable(database))) return [];
    const findings: Finding[] = [];
    const db = await database();
    const initdb = `sudo -u postgres piw initdb -d DSN -u ${settings.user}`;
    try {
      // Without any right, the tables look as if they were not there.
      if (await lacksPrivileges(db))
        findings.push({ problem: 'the role of the DSN may not write to the tables', fix: initdb });
      else await checkSchemaVersion(db);
    } catch (error) {
      rethrowUnexpected(error);
      findings.push(findingOf(error, error.code === 'PIW_DATABASE_VERSION' ? initdb : error.advice));
    }
    try {
      if (!settings['allow-superuser']) await refuseSuperuser(db);
    } catch (error) {
      rethrowUnexpected(error);
      findings.push(
        findingOf(error, `sudo -u postgres createuser ${settings.user}, and set dsn to that role`),
      );
    }
    return findings;
  },
};

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
