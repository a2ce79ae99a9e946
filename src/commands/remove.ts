import { Args, Flags } from '@oclif/core';
import { PiwError } from '../errors.js';
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
    const subject = wholePackage ? `all of ${name}` : `${name} ${String(args.version)}`;
    if (!flags.yes && !(await confirm(`${flags.yank ? 'Yank' : 'Remove'} ${subject}?`))) {
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was changed');
    }
    const bus = await this.connect(this.settings(flags));
    try {
      const chaseClient = createChaseClient(bus);
      if (args.version === undefined) await chaseClient.request('REMPKG', { package: name, skip });
      else
        await chaseClient.request('REMVER', { package: name, version: args.version, skip, yank: flags.yank });
    } finally {
      await bus.drain();
    }
    const rebuildNote =
      flags.yank || skip !== null
        ? ''
        : ' What is still in the followed index will be built again; --skip prevents that.';
    this.log(`${flags.yank ? 'Yanked' : 'Removed'} ${subject}.${rebuildNote}`);
    return { package: name, version: args.version ?? null, skip };
  }
}
