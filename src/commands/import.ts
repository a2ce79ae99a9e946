import { randomBytes } from 'node:crypto';
import { access, constants, readFile, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Args, Flags } from '@oclif/core';
import { IMPORT_USER } from '../../actors/mr-chase/imports.js';
import type { Bus } from '../bus/bus.js';
import { systemClock } from '../concurrency/clock.js';
import { fileReader } from '../transfer/file-reader.js';
import { sendFile } from '../transfer/send-file.js';
import { formatQuantity, parseDuration } from '../units.js';
import { codeOf } from '../files/disk.js';
import { PiwError, errorMessage, hasCode } from '../errors.js';
import type { chase } from '../protocols/chase.js';
import type { Answer } from '../protocols/protocol.js';
import { fileToMessage } from '../model/file-state.js';
import { parseWheelName } from '../wheels/tags.js';
import { describeWheel } from '../wheels/wheel.js';
import { BuildOutput, Seconds, Tag, Version } from '../model/fields.js';
import { formatBytes } from '../monitor/figures.js';
import { createOracleClient } from './abi/target.js';
import { checkArguments, createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { confirm } from './confirm.js';
import { queueFlags } from './piwheels-queues.js';
import { ProgressLine } from './progress-line.js';

export default class Import extends PiwCommand {
  static override summary = 'Import wheels that were built elsewhere, as one build.';
  static override description = `Package and version are taken from the first wheel unless you give them. Run
this command on the master only.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> import ./tool-1.0-py3-none-any.whl',
    '<%= config.bin %> import --yes --delete --abi cp311 dist/*.whl',
  ];
  static override strict = false;
  static override args = {
    files: Args.string({ ignoreStdin: true, required: true, description: 'wheel files to import' }),
  };
  static override flags = {
    package: Flags.string({ helpValue: 'NAME', description: 'package that the wheels belong to' }),
    'package-version': Flags.string({
      helpValue: 'VERSION',
      description: 'version that the wheels belong to',
    }),
    abi: Flags.string({ helpValue: 'ABI', description: 'ABI that the wheels were built for, e.g. cp311' }),
    duration: Flags.string({
      helpValue: 'DURATION',
      default: '0s',
      description: 'how long the build took, e.g. 90m or 45s',
    }),
    output: Flags.string({ helpValue: 'FILE', description: 'file with the log of the build' }),
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
    delete: Flags.boolean({
      default: false,
      char: 'd',
      description: 'delete the files after a successful import',
    }),
    ...natsFlags,
    ...queueFlags('import-queue'),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { argv, flags } = await this.parse(Import);
    const duration = parseDuration(flags.duration);
    if (duration === undefined)
      throw new PiwError(
        'PIW_USAGE',
        `--duration "${flags.duration}": must be a duration such as 90m or 45s`,
      );
    checkArguments(
      ['--package-version', Version, flags['package-version']],
      ['--abi', Tag, flags.abi],
      ['--duration', Seconds, duration],
    );
    const paths = argv as string[];
    refuseSameNames(paths);
    await refuseUnreadable(paths);
    refuseOthersThanWheels(paths);
    const files = await Promise.all(paths.map(async (path) => ({ path, file: await describeWheel(path) })));
    const first = files[0]?.file;
    if (!first) throw new PiwError('PIW_USAGE', 'name at least one wheel');
    const name = parsePackageName(flags.package ?? first.package_tag);
    const version = flags['package-version'] ?? first.package_version_tag;
    const output =
      flags.output === undefined ? 'Imported manually by piw import.\n' : await readBuildLog(flags.output);
    checkArguments(['--output', BuildOutput, output]);
    const bus = await this.connect(this.settings(flags));
    const progress = new ProgressLine(!flags.json && !flags.quiet && process.stderr.isTTY);
    let published: readonly string[];
    let arePublished = false;
    try {
      if (!flags.yes) {
        await requireAbi(bus, flags.abi);
        const names = files.map(({ path }) => basename(path)).join(', ');
        if (!(await confirm(`Import ${names} as ${name} ${version}?`)))
          throw new PiwError('PIW_UNCONFIRMED', 'nothing was imported');
      }
      const session = randomBytes(8).toString('hex');
      const chaseClient = createChaseClient(bus);
      const warn = (text: string): void => {
        progress.clear();
        this.warn(text);
      };
      const begin = () =>
        askUntilReady(
          () =>
            chaseClient.request('IMPORT', {
              abi: flags.abi ?? null,
              package: name,
              version,
              status: true,
              duration_s: duration,
              output,
              files: files.map(({ file }) => fileToMessage(file)),
            }),
          warn,
        );
      let answer = await begin();
      arePublished = answer.verb === 'DONE';
      for (let restarts = 0; answer.verb === 'SEND';) {
        const { filename, transfer_id } = answer;
        const entry = files.find(({ file }) => file.filename === filename);
        if (!entry)
          throw new PiwError(
            'PIW_REFUSED',
            `the master asked for ${filename}, which is not among the files to import`,
          );
        let sent = 0;
        try {
          await sendFile({
            bus,
            clock: systemClock,
            user: IMPORT_USER,
            session,
            transferId: transfer_id,
            file: entry.file,
            read: fileReader(entry.path),
            onSent: (bytes) => {
              sent += bytes;
              progress.show(() => `${filename}: ${formatBytes(sent)} of ${formatBytes(entry.file.filesize)}`);
            },
            onTrouble: (error) => {
              sent = 0;
              warn(`failed to send ${filename}, retrying: ${error.message}`);
            },
          });
          answer = await askUntilReady(() => chaseClient.request('SENT', { filename }), warn);
        } catch (error) {
          // Mr Chase was restarted, and knows of no import. What has arrived is not sent twice.
          if (!hasCode(error, 'PIW_UNKNOWN_TRANSFER') || restarts === MAX_RESTARTS) throw error;
          restarts += 1;
          answer = await begin();
        }
      }
      published = answer.filenames;
    } finally {
      progress.clear();
      await bus.drain();
    }
    if (flags.delete) await Promise.all(paths.map((path) => rm(path)));
    const fileCount = formatQuantity(files.length, 'file');
    this.log(
      arePublished
        ? `${name} ${version} is published with the same ${fileCount} already.`
        : `Imported ${fileCount} as ${name} ${version}.`,
    );
    files.forEach(({ file: { filename } }, i) => {
      const publishedName = published[i] ?? filename;
      if (publishedName !== filename)
        this.log(
          `${filename} is published as ${publishedName}, because its own name stands for different contents.`,
        );
    });
    return { package: name, version, files: published };
  }
}

/** Throws PIW_USAGE if one of the files does not have the name of a wheel. */
function refuseOthersThanWheels(paths: readonly string[]): void {
  for (const path of paths)
    try {
      parseWheelName(basename(path));
    } catch (error) {
      throw new PiwError(
        'PIW_USAGE',
        `${path} is not a wheel: a wheel is named NAME-VERSION-PYTHON-ABI-PLATFORM.whl, for example six-1.16.0-py3-none-any.whl`,
        { cause: error },
      );
    }
}

/** Throws PIW_USAGE if two of the files have the same name: only one of them would be published, and --delete delete both. */
function refuseSameNames(paths: readonly string[]): void {
  const names = paths.map((path) => basename(path));
  const name = names.find((each, i) => names.indexOf(each) !== i);
  if (name !== undefined)
    throw new PiwError(
      'PIW_USAGE',
      `${name} is given twice; give it once, or import files of the same name one after the other`,
    );
}

/** Throws PIW_UNKNOWN_TARGET if this ABI is not registered; if none is given, if no ABI is. */
async function requireAbi(bus: Bus, abi: string | undefined): Promise<void> {
  const { targets } = await createOracleClient(bus).request('GETABIS', {});
  if (targets.some((target) => abi === undefined || target.abi === abi)) return;
  throw new PiwError(
    'PIW_UNKNOWN_TARGET',
    abi === undefined ? 'no ABI is registered' : `the ABI ${abi} is not registered`,
  );
}

/** Throws PIW_USAGE if one of the files can't be read. */
async function refuseUnreadable(paths: readonly string[]): Promise<void> {
  for (const path of paths)
    await access(path, constants.R_OK).catch((error: unknown) => {
      const text =
        codeOf(error) === 'ENOENT'
          ? `there is no file ${path}`
          : `${path} can't be read: ${errorMessage(error)}`;
      throw new PiwError('PIW_USAGE', text, { cause: error });
    });
}

type ImportReply = Answer<typeof chase.verbs, 'SENT'>;

/** How often an import begins again because the master's process for it was restarted. */
const MAX_RESTARTS = 3;
/** How long an import waits for room on the master's disk, seconds. */
const MAX_DISK_WAIT_S = 3600;

/** Returns the answer to `ask`, which is repeated while the master answers WAIT. Throws PIW_DISK_FULL after an hour. */
async function askUntilReady(
  ask: () => Promise<ImportReply>,
  report: (text: string) => void,
): Promise<Exclude<ImportReply, { verb: 'WAIT' }>> {
  let reportedReason: string | undefined;
  for (let waitedS = 0; ;) {
    const answer = await ask();
    if (answer.verb !== 'WAIT') return answer;
    const { seconds, reason } = answer;
    if (waitedS >= MAX_DISK_WAIT_S)
      throw new PiwError('PIW_DISK_FULL', `the master was not ready within an hour: ${reason}`);
    if (reportedReason !== reason) report(`waiting for the master: ${reason}`);
    reportedReason = reason;
    await sleep(seconds * 1000);
    waitedS += seconds;
  }
}

async function readBuildLog(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new PiwError('PIW_USAGE', `${file} can't be read: ${errorMessage(error)}`, { cause: error });
  }
}
