import { Args, Flags } from '@oclif/core';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { ShortText, Version } from '../model/fields.js';
import { createOracleClient } from './abi/target.js';
import { checkArguments, createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { confirm } from './confirm.js';
import { queueFlags } from './piwheels-queues.js';
import { ProgressLine } from './progress-line.js';

export default class Remove extends PiwCommand {
  static override summary = 'Remove a version or a whole package, with its builds, files and downloads.';
  static override description = `The farm builds a version again that is still in the followed index, unless
you pass --skip.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> remove six 1.16.0',
    '<%= config.bin %> remove six 1.16.0 --yes --skip="withdrawn by its author"',
    '<%= config.bin %> remove six --all-versions',
    '<%= config.bin %> remove six --all-versions --builds',
  ];
  static override args = {
    package: Args.string({ ignoreStdin: true, required: true, description: 'name of the package' }),
    version: Args.string({ ignoreStdin: true, description: 'version to remove' }),
  };
  static override flags = {
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
    'no-rebuild': Flags.boolean({ default: false, char: 's', description: 'do not build it again' }),
    skip: Flags.string({
      helpValue: 'REASON',
      description: 'do not build it again, and record this reason',
    }),
    yank: Flags.boolean({
      default: false,
      description:
        'only mark the version as yanked, even if the index does not, and keep its files (piw add --unyank undoes it)',
    }),
    'all-versions': Flags.boolean({
      default: false,
      description: 'remove the whole package; with --yank, yank each of its versions',
    }),
    builds: Flags.boolean({
      default: false,
      description:
        'remove only builds, with their files and downloads: the package and its versions stay, and wait to be built again',
      exclusive: ['yank', 'skip', 'no-rebuild'],
    }),
    ...natsFlags,
    ...queueFlags('import-queue'),
  };
  static override enableJsonFlag = true;

  /** Makes --skip a flag, as in piwheels; --skip=REASON also states the reason. */
  protected override init(): Promise<void> {
    this.argv = this.argv.map((word) => (word === '--skip' ? '-s' : word));
    return super.init();
  }

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Remove);
    const name = parsePackageName(args.package);
    const { version } = args;
    if (flags['all-versions'] === (version !== undefined)) {
      throw new PiwError('PIW_USAGE', 'give either a version, or --all-versions for the whole package');
    }
    checkArguments(['VERSION', Version, version], ['--skip', ShortText, flags.skip]);
    const skip = flags.skip ?? (flags['no-rebuild'] ? 'removed by an administrator' : null);
    const versionedName = version === undefined ? `all of ${name}` : `${name} ${version}`;
    const subject = flags.builds ? `the builds of ${versionedName}` : versionedName;
    const progress = new ProgressLine(!flags.json && !flags.quiet && process.stderr.isTTY);
    const bus = await this.connect(this.settings(flags));
    try {
      if (!flags.yes) {
        const files = await countFiles(bus, name, version);
        const contents = flags.yank || files === 0 ? '' : `, with ${files} file${files === 1 ? '' : 's'}`;
        if (!(await confirm(`${flags.yank ? 'Yank' : 'Remove'} ${subject}${contents}?`)))
          throw new PiwError('PIW_UNCONFIRMED', 'nothing was changed');
      }
      const chaseClient = createChaseClient(bus);
      if (version === undefined && !flags.builds && !flags.yank)
        await chaseClient.request('REMPKG', { package: name, skip });
      else {
        // One request each, so that a package with many versions neither times out nor keeps other requests waiting.
        const versions =
          version === undefined ? await versionsOf(bus, name, { built: flags.builds }) : [version];
        for (const [i, each] of versions.entries()) {
          await chaseClient.request('REMVER', { package: name, version: each, skip, yank: flags.yank });
          progress.show(() => `${i + 1} of ${versions.length} versions`);
        }
      }
    } finally {
      progress.clear();
      await bus.drain();
    }
    const rebuildNote =
      flags.yank || skip !== null
        ? ''
        : ' What is still in the followed index will be built again; --skip prevents that.';
    this.log(`${flags.yank ? 'Yanked' : 'Removed'} ${subject}.${flags.builds ? '' : rebuildNote}`);
    return { package: name, version: version ?? null, skip };
  }
}

const unknownPackage = (name: string): PiwError =>
  new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);

/**
 * Returns how many files there are to remove: of a version, or of the whole package, which may be files that an
 * interrupted removal has left. Throws PIW_UNKNOWN_PACKAGE or PIW_UNKNOWN_VERSION if there is nothing to remove.
 */
async function countFiles(bus: Bus, name: string, version: string | undefined): Promise<number> {
  const client = createOracleClient(bus);
  const { project } = await client.request('PROJECT', { package: name });
  if (version === undefined) {
    const { files: unlisted } = await client.request('UNLISTED', { package: name, limit: 1000 });
    if (project === null && unlisted.length === 0) throw unknownPackage(name);
    return (project?.files.length ?? 0) + unlisted.length;
  }
  if (project === null) throw unknownPackage(name);
  const { exists } = await client.request('VEREXISTS', { package: name, version });
  if (!exists) throw new PiwError('PIW_UNKNOWN_VERSION', `there is no version ${version} of ${name}`);
  return project.files.filter((file) => file.version === version).length;
}

/**
 * Returns the versions of a package; with `built`, only those that a registered target has a build of, or that have
 * files. Throws PIW_UNKNOWN_PACKAGE.
 */
async function versionsOf(
  bus: Bus,
  name: string,
  { built }: { readonly built: boolean },
): Promise<readonly string[]> {
  const { project } = await createOracleClient(bus).request('PROJECT', { package: name });
  if (project === null) throw unknownPackage(name);
  const withFiles = new Set(project.files.map(({ version }) => version));
  return project.versions
    .filter(
      ({ version, targets }) =>
        !built || withFiles.has(version) || targets.some(({ build_id: buildId }) => buildId !== null),
    )
    .map(({ version }) => version);
}
