import { createInterface } from 'node:readline/promises';
import { Flags } from '@oclif/core';
import { migrate } from '../database/migrations.js';
import { PiwError } from '../errors.js';
import { EXIT_CODES, PiwCommand } from './base.js';

export default class Initdb extends PiwCommand {
  static override summary = "Create the tables of a farm's database, or upgrade them to this version.";
  static override description = `The database and the master's role must exist; the DSN should connect as a
superuser. All changes are made in one transaction: if anything fails, nothing
is changed.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> initdb',
    '<%= config.bin %> initdb -d postgres:///piwheels -u piwheels -y',
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
    if (!flags.yes && !(await confirm('Create or upgrade the tables of this database?'))) {
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was changed');
    }
    const versions = await migrate(settings.dsn, { user: settings.user });
    this.log(
      versions.from === versions.to
        ? `The database is already at version ${versions.to}.`
        : `The database is now at version ${versions.to}.`,
    );
    return versions;
  }
}

/** Asks a yes/no question at the terminal. Returns false if stdin is not a terminal. */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
