import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { backUp, type BackupSummary } from '../backup/backup.js';
import type { SettingName } from '../config.js';
import { PiwError } from '../errors.js';
import { codeOf } from '../files/disk.js';
import { formatBytes } from '../monitor/figures.js';
import { loadSettings, presentConfigFiles, traceSettings, type TracedSetting } from '../settings/load.js';
import { EXIT_CODES, PiwCommand, createShutdownSignal } from './base.js';
import { ProgressLine } from './progress-line.js';
import { formatCount, formatQuantity } from '../units.js';

/** Settings that name files which a farm needs like its configuration. */
const NAMED_FILES: readonly SettingName[] = [
  'nats-users',
  'nats-key',
  'watch-file',
  'tls-ca',
  'tls-cert',
  'tls-key',
];
/** Files that are named one by one; the rest is counted, and --json has all. */
const MAX_SHOWN = 20;

export default class Backup extends PiwCommand {
  static override summary = 'Back up the farm: its database, its published files and its configuration.';
  static override description = `The farm may be running: the backup is of the moment at which it began. Run it
as the user of the master. The folder contains passwords and keys, and only
that user can read it.

A second backup into the same folder copies only what is new, and replaces the
first once it is complete. A backup that was interrupted leaves the previous one
as it is.

Exits with 1 if files that the database lists are not under the output path:
the rest is backed up.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> backup /backup/farm',
    '<%= config.bin %> backup /backup/farm --no-files --json',
    '<%= config.bin %> backup /var/www/farm-backup --link',
  ];
  static override args = {
    folder: Args.string({ ignoreStdin: true, required: true, description: 'folder of the backup' }),
  };
  static override flags = {
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: 'database to back up (default: postgres:///piwheels)',
    }),
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'PATH',
      description: 'folder of the published files (default: /var/www/piwheels)',
    }),
    files: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'copy the published files, too; with --no-files, only the database and the configuration',
    }),
    link: Flags.boolean({
      default: false,
      description:
        'make hard links of the published files where possible: it takes no space, and does not survive the loss of the disk',
    }),
    verify: Flags.boolean({
      default: false,
      description: 'read files again that an earlier backup has copied, and replace damaged ones',
    }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Backup);
    const file = this.configFile(flags);
    const settings = loadSettings(flags, file);
    const configuration = this.#configurationFiles(
      file === undefined ? presentConfigFiles() : [file],
      traceSettings(flags, file),
    );
    const folder = resolve(args.folder);
    const progress = new ProgressLine(!flags.json && !flags.quiet && process.stderr.isTTY);
    const signal = createShutdownSignal();
    let summary: BackupSummary;
    try {
      summary = await backUp({
        dsn: settings.dsn,
        outputPath: settings['output-path'],
        folder,
        configuration,
        copiesFiles: flags.files,
        links: flags.link,
        rereads: flags.verify,
        onProgress: (done, of) => {
          progress.show(() => `${formatBytes(done)} of ${formatBytes(of)}`);
        },
        signal,
      });
    } catch (error) {
      if (signal.aborted)
        throw new PiwError('PIW_INTERRUPTED', `interrupted: ${folder} contains what it contained before`);
      throw error;
    } finally {
      progress.clear();
    }
    this.#print(summary, folder, flags.files);
    if (summary.missing.length > 0) process.exitCode = 1;
    return { folder, ...summary };
  }

  #print(summary: BackupSummary, folder: string, copiesFiles: boolean): void {
    const { rows, files, bytes, new_files: newFiles, removed, missing } = summary;
    const published = `${formatQuantity(files, 'published file')} (${formatBytes(bytes)})`;
    this.log(
      copiesFiles
        ? `Backed up the database (${formatQuantity(rows, 'row')}) and ${published}, ${formatCount(newFiles)} of them new, to ${folder}.`
        : `Backed up the database (${formatQuantity(rows, 'row')}) without its ${published} to ${folder}.`,
    );
    if (removed.length > 0)
      this.log(
        `The farm removed ${formatQuantity(removed.length, 'file')} in the meantime, which the backup does not contain.`,
      );
    for (const name of missing.slice(0, MAX_SHOWN))
      this.log(`missing from the output path, or with other contents there: ${name}`);
    if (missing.length > MAX_SHOWN) this.log(`and ${formatCount(missing.length - MAX_SHOWN)} more`);
  }

  /** Returns the files of the configuration that exist; warns of those that can't be read. */
  #configurationFiles(files: readonly string[], settings: readonly TracedSetting[]): readonly string[] {
    const named = settings.flatMap(({ name, value, origin }) => [
      ...('secretFile' in origin ? [origin.secretFile] : []),
      ...(NAMED_FILES.includes(name) && typeof value === 'string' ? [value] : []),
    ]);
    return [...new Set([...files, ...named].map((path) => resolve(path)))].filter((path) => {
      const readable = isReadable(path);
      if (readable === false) this.warn(`${path} can't be read, and is not in the backup: copy it yourself`);
      return readable === true;
    });
  }
}

/** Returns whether this user can read a file; undefined if it does not exist, or is not a regular file. */
function isReadable(path: string): boolean | undefined {
  try {
    if (!statSync(path).isFile()) return undefined;
    accessSync(path, constants.R_OK);
    return true;
  } catch (error) {
    return ['ENOENT', 'ENOTDIR'].includes(codeOf(error)) ? undefined : false;
  }
}
