import { Args, Flags } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';
import { createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { confirm } from './confirm.js';
import { queueFlags } from './piwheels-queues.js';

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
      description: 'remove the whole package',
      exclusive: ['yank'],
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
    const wholePackage = flags['all-versions'];
    if (wholePackage === (args.version !== undefined)) {
      throw new PiwError('PIW_USAGE', 'give either a version, or --all-versions for the whole package');
    }
    const skip = flags.skip ?? (flags['no-rebuild'] ? 'removed by an administrator' : null);
    const versionedName = wholePackage ? `all of ${name}` : `${name} ${String(args.version)}`;
    const subject = flags.builds ? `the builds of ${versionedName}` : versionedName;
    if (!flags.yes && !(await confirm(`${flags.yank ? 'Yank' : 'Remove'} ${subject}?`))) {
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was changed');
    }
    const bus = await this.connect(this.settings(flags));
    try {
      const chaseClient = createChaseClient(bus);
      const removeVersion = (version: string) =>
        chaseClient.request('REMVER', { package: name, version, skip, yank: flags.yank });
      if (args.version !== undefined) await removeVersion(args.version);
      else if (!flags.builds) await chaseClient.request('REMPKG', { package: name, skip });
      // One request each, so that a package with many versions neither times out nor keeps other requests waiting.
      else for (const version of await builtVersions(bus, name)) await removeVersion(version);
    } finally {
      await bus.drain();
    }
    const rebuildNote =
      flags.yank || skip !== null
        ? ''
        : ' What is still in the followed index will be built again; --skip prevents that.';
    this.log(`${flags.yank ? 'Yanked' : 'Removed'} ${subject}.${flags.builds ? '' : rebuildNote}`);
    return { package: name, version: args.version ?? null, skip };
  }
}

/** Returns the versions of a package that a registered target has a build of, or that have files. Throws PIW_UNKNOWN_PACKAGE. */
async function builtVersions(bus: Bus, name: string): Promise<readonly string[]> {
  const client = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000 });
  const { project } = await client.request('PROJECT', { package: name });
  if (project === null) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);
  const withFiles = new Set(project.files.map(({ version }) => version));
  return project.versions
    .filter(
      ({ version, targets }) =>
        withFiles.has(version) || targets.some(({ build_id: buildId }) => buildId !== null),
    )
    .map(({ version }) => version);
}
