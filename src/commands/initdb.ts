import { Flags } from '@oclif/core';
import { inspectDatabase, type DatabaseInspection } from '../database/inspection.js';
import { migrate } from '../database/migrations.js';
import { PiwError } from '../errors.js';
import { EXIT_CODES, PiwCommand } from './base.js';
import { confirm } from './confirm.js';

export default class Initdb extends PiwCommand {
  static override summary = "Create the tables of a farm's database, or upgrade them to this version.";
  static override description = `The database and the master's role must exist; the DSN should connect as a
superuser, and the master's role must not be one. The command looks at the
database first, says what it found and will do, and asks. All changes are made
in one transaction: if anything fails, nothing is changed.

${EXIT_CODES}`;
  static override examples = [
    'sudo -u postgres <%= config.bin %> initdb',
    'sudo -u postgres <%= config.bin %> initdb -d postgres:///piwheels -u piwheels -y',
  ];
  static override flags = {
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'database to prepare (default: postgres:///piwheels)',
    }),
    user: Flags.string({
      char: 'u',
      helpValue: 'NAME',
      description: 'ordinary role that the master connects as (default: piwheels)',
    }),
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
  };
  static override enableJsonFlag = true;

  protected override readonly usesRunningFarm = false;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Initdb);
    const settings = this.settings(flags);
    const inspection = await inspectDatabase(settings.dsn, settings.user);
    const { database, installed, required, role, user } = inspection;
    if (inspection.userIsSuperuser && !settings['allow-superuser'])
      throw new PiwError('PIW_SUPERUSER', `the role ${user} for the master is a PostgreSQL superuser`);
    const result = { database, role, user, from: installed, to: required };
    this.log(describe(inspection));
    if (installed === required && inspection.userHasRights) return result;
    if (!flags.yes && !(await confirm('Do this now?')))
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was changed');
    const versions = await migrate(settings.dsn, { user });
    this.log(`The database is now at version ${versions.to}.`);
    return { ...result, ...versions };
  }
}

/** Says what was found, and what is to be done, in one line. */
function describe(inspection: DatabaseInspection): string {
  const { database, role, installed, required, user, userHasRights } = inspection;
  const place = `The database ${database}, seen as ${role},`;
  const rights = `role ${user} gets the rights of a master`;
  if (installed === 0) return `${place} has no tables: version ${required} will be created, and ${rights}.`;
  if (installed < required)
    return `${place} is at version ${installed}: it will be upgraded to ${required}, and ${rights}.`;
  return userHasRights
    ? `${place} is already at version ${installed}, and role ${user} has the rights of a master.`
    : `${place} is already at version ${installed}: ${rights}.`;
}
