import { resolve } from 'node:path';
import { Args, Flags, type Interfaces } from '@oclif/core';
import { readManifest } from '../backup/manifest.js';
import {
  Restore as FarmRestore,
  type RestoreOptions,
  type RestorePlan,
  type UnlistedWheel,
} from '../backup/restore.js';
import { PiwError } from '../errors.js';
import { RestoredFolder } from '../farm/restored-folder.js';
import { formatBytes } from '../monitor/figures.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { confirm } from './confirm.js';
import { ProgressLine } from './progress-line.js';
import { formatCount, formatQuantity } from '../units.js';

/** Files that are named one by one; the rest is counted, and --json has all. */
const MAX_SHOWN = 20;

export default class Restore extends PiwCommand {
  static override summary = 'Restore a farm that piw backup has backed up.';
  static override description = `Restores into an empty database, whose owner the DSN connects as (or a superuser),
and an empty output path. The command checks the whole backup first, says what
it will do, and asks. The database is loaded in one transaction. A backup of an
earlier version of the tables is upgraded.

If the output path has survived, --keep-files keeps it, and copies only what is
missing there. Wheels that were published after the backup are listed, with the
command that imports them; until then, nothing is built that could take their
names. An interrupted restore is repeated with --keep-files.

Pages are not in a backup: the farm writes them after its start. Configuration
files are in the backup, and are not restored: compare and copy them yourself.
With --data-dir, the farm of piw farm is restored, with its own PostgreSQL and
the users of its slaves; it must not be running.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> restore /backup/farm',
    '<%= config.bin %> restore /backup/farm -c /backup/farm/state-*/configuration/etc/piwheels.conf --yes',
    '<%= config.bin %> restore /backup/farm --keep-files',
    '<%= config.bin %> restore /backup/farm --data-dir ~/.local/share/piw',
  ];
  static override args = {
    folder: Args.string({ ignoreStdin: true, required: true, description: 'folder of the backup' }),
  };
  static override flags = {
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'empty database to restore into (default: postgres:///piwheels)',
    }),
    user: Flags.string({
      char: 'u',
      helpValue: 'NAME',
      description:
        'ordinary role that the master connects as (default: the role of the DSN, or piwheels if that is a superuser)',
    }),
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'PATH',
      description: 'empty folder to restore the published files to (default: /var/www/piwheels)',
    }),
    'data-dir': Flags.string({
      helpValue: 'DIR',
      exclusive: ['dsn', 'user'],
      description: 'restore the data folder of a farm on one machine, with its database and its output path',
    }),
    'keep-files': Flags.boolean({
      default: false,
      description: 'keep the files under the output path, and copy only those that are missing there',
    }),
    'drop-missing': Flags.boolean({
      default: false,
      description:
        'drop the records of files that are damaged or missing, so that they are built again, instead of refusing',
    }),
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
  };
  static override enableJsonFlag = true;

  protected override readonly usesRunningFarm = false;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Restore);
    const signal = createShutdownSignal();
    const dataDir = flags['data-dir'];
    if (dataDir === undefined) {
      const settings = this.settings(flags);
      return await this.#restore(resolve(args.folder), flags, signal, {
        dsn: settings.dsn,
        outputPath: settings['output-path'],
        user: flags.user,
        userForSuperuser: settings.user,
        allowSuperuser: settings['allow-superuser'],
      });
    }
    readManifest(resolve(args.folder));
    const log = (line: string): void => {
      this.log(line);
    };
    const dataFolder = await RestoredFolder.open({ dataDir: resolve(dataDir), log, signal });
    try {
      const { dsn, user } = dataFolder.database;
      const outputPath = resolve(flags['output-path'] ?? dataFolder.outputPath);
      const target = { dsn, outputPath, user, userForSuperuser: user, allowSuperuser: false };
      return await this.#restore(resolve(args.folder), flags, signal, target, dataFolder);
    } finally {
      await dataFolder.close();
    }
  }

  async #restore(
    folder: string,
    flags: Interfaces.InferredFlags<(typeof Restore)['flags'] & (typeof PiwCommand)['baseFlags']> & {
      readonly json?: boolean | undefined;
    },
    signal: AbortSignal,
    target: Pick<RestoreOptions, 'dsn' | 'outputPath' | 'user' | 'userForSuperuser' | 'allowSuperuser'>,
    dataFolder?: RestoredFolder,
  ) {
    const { outputPath } = target;
    const progress = new ProgressLine(flags.json !== true && !flags.quiet && process.stderr.isTTY);
    const restore = await FarmRestore.open({
      ...target,
      folder,
      keepsFiles: flags['keep-files'],
      dropsMissing: flags['drop-missing'],
      onProgress: (doing, done, of) => {
        progress.show(() => `${formatBytes(done)} of ${formatBytes(of)} ${doing}`);
      },
      signal,
    });
    try {
      const plan = await restore.plan();
      const { manifest } = plan;
      progress.clear();
      this.log(describePlan(plan, folder, outputPath));
      if (!flags.yes && !(await confirm('Do this now?')))
        throw new PiwError('PIW_UNCONFIRMED', 'nothing was restored');
      const unlisted = await restore.carryOut(plan);
      dataFolder?.restoreConfiguration(manifest.configuration, (path) =>
        restore.readConfiguration(manifest, path),
      );
      progress.clear();
      this.#print(plan, unlisted);
      return {
        folder,
        taken: manifest.taken,
        database: plan.target.database,
        output_path: outputPath,
        copied: plan.toCopy,
        kept: plan.inPlace,
        dropped: plan.dropped,
        unlisted,
      };
    } catch (error) {
      if (signal.aborted)
        throw new PiwError(
          'PIW_INTERRUPTED',
          'interrupted: the database is unchanged; --keep-files keeps the files that were copied',
        );
      throw error;
    } finally {
      progress.clear();
      await restore.close();
    }
  }

  #print({ manifest, dropped }: RestorePlan, unlisted: readonly UnlistedWheel[]): void {
    this.log(`The farm is restored as it was at ${manifest.taken}. Its pages are written after its start.`);
    for (const name of dropped.slice(0, MAX_SHOWN)) this.log(`dropped, and built again: ${name}`);
    if (dropped.length > MAX_SHOWN) this.log(`and ${formatCount(dropped.length - MAX_SHOWN)} more`);
    const imports = adoptable(unlisted);
    if (imports.size > 0)
      this.log(
        'The backup does not list these wheels. The Slave Driver is paused, so that no build takes their names: start the farm, import or delete them, and run piw resume slave-driver.',
      );
    for (const paths of imports.values()) this.log(`piw import --yes ${paths.map(quote).join(' ')}`);
    for (const { path, obstacle } of unlisted)
      if (obstacle !== null) this.log(`can't be imported: ${path}: ${obstacle}`);
  }
}

function describePlan(plan: RestorePlan, folder: string, outputPath: string): string {
  const { manifest, target, toCopy, bytesToCopy, inPlace, dropped, unlisted } = plan;
  const rows = manifest.tables.reduce((sum, table) => sum + table.rows, 0);
  const sentences = [
    `The backup in ${folder} is of ${manifest.taken}, schema version ${manifest.schema_version}.`,
    `${formatQuantity(rows, 'row goes', 'rows go')} to the database ${target.database}, and role ${target.user} gets the rights of a master;`,
    `${formatQuantity(toCopy, 'file')} (${formatBytes(bytesToCopy)}) ${toCopy === 1 ? 'goes' : 'go'} to ${outputPath}${inPlace > 0 ? `, which has ${formatQuantity(inPlace, 'other')} already` : ''}.`,
    ...(dropped.length > 0
      ? [`${formatQuantity(dropped.length, 'file is lost, and is', 'files are lost, and are')} built again.`]
      : []),
    ...(unlisted.length > 0
      ? [
          `${formatQuantity(unlisted.length, 'wheel there is', 'wheels there are')} not listed in the backup, and ${unlisted.length === 1 ? 'is' : 'are'} kept.`,
        ]
      : []),
  ];
  return sentences.join(' ');
}

/** Returns the paths of the wheels that can be imported, by package and version, each of which is one import. */
function adoptable(unlisted: readonly UnlistedWheel[]): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  for (const { path, package: name, version, obstacle } of unlisted) {
    if (obstacle !== null) continue;
    const key = `${name} ${version ?? ''}`;
    groups.set(key, [...(groups.get(key) ?? []), path]);
  }
  return groups;
}

/** Quotes a path for the shell, if it needs that. */
const quote = (path: string): string =>
  /^[\w./+=:@%-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
