import { createInterface } from 'node:readline/promises';
import { Flags } from '@oclif/core';
import { migrate } from '../database/migrations.js';
import { PiwError } from '../errors.js';
import { EXIT_CODES, PiwCommand } from './base.js';

export default class Initdb extends PiwCommand {
  static override summary = "Make the tables of a farm's database, or bring them to this version.";
  static override description = `The database and the ordinary role must exist; the DSN should connect as a superuser. Everything is
done in one transaction: if anything goes wrong, nothing has changed.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> initdb',
    '<%= config.bin %> initdb -d postgres:///piwheels -u piwheels -y',
  ];
  static override flags = {
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'the database (default: postgres:///piwheels)',
    }),
    user: Flags.string({
      char: 'u',
      helpValue: 'NAME',
      description: 'the ordinary role of the master (default: piwheels)',
    }),
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask before changing anything' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Initdb);
    const settings = this.settings(flags);
    if (!flags.yes && !(await confirm('Make or change the tables of this database?'))) {
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was changed');
    }
    const done = await migrate(settings.dsn, { user: settings.user });
    this.log(
      done.from === done.to
        ? `The database is at version ${String(done.to)} already.`
        : `The database is at version ${String(done.to)} now.`,
    );
    return done;
  }
}

/** A question at the terminal; without one, no. */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
