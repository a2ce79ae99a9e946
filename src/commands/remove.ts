import { Args, Flags } from '@oclif/core';
import { PiwError } from '../errors.js';
import { createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { confirm } from './initdb.js';

export default class Remove extends PiwCommand {
  static override summary = 'Remove a version of a package: its builds, its files and its downloads.';
  static override description = `Unless it is marked to be skipped, the farm will build it again.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> remove six 1.16.0',
    '<%= config.bin %> remove six 1.16.0 --yes --skip="withdrawn by its author"',
    '<%= config.bin %> remove six --all-versions',
  ];
  static override args = {
    package: Args.string({ ignoreStdin: true, required: true, description: 'the name of the package' }),
    version: Args.string({ ignoreStdin: true, description: 'the version' }),
  };
  static override flags = {
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask' }),
    'no-rebuild': Flags.boolean({ default: false, char: 's', description: 'never build it again' }),
    skip: Flags.string({ helpValue: 'REASON', description: 'never build it again, for this reason' }),
    yank: Flags.boolean({
      default: false,
      description:
        'only mark it as yanked, whatever the index says; its files stay (piw add --unyank takes it back)',
    }),
    'all-versions': Flags.boolean({
      default: false,
      description: 'remove the whole package',
      exclusive: ['yank'],
    }),
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    // As in piwheels, --skip alone is a flag; with `=REASON` it says why.
    this.argv = this.argv.map((word) => (word === '--skip' ? '-s' : word));
    const { args, flags } = await this.parse(Remove);
    const name = parsePackageName(args.package);
    const wholePackage = flags['all-versions'];
    if (wholePackage === (args.version !== undefined)) {
      throw new PiwError('PIW_USAGE', 'name a version, or give --all-versions for the whole package');
    }
    const skip = flags.skip ?? (flags['no-rebuild'] ? 'removed by an administrator' : null);
    const subject = wholePackage ? `all of ${name}` : `${name} ${String(args.version)}`;
    if (!flags.yes && !(await confirm(`${flags.yank ? 'Yank' : 'Remove'} ${subject}?`))) {
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was removed');
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
        : ' What an index still has of it is built again; with --skip it is not.';
    this.log(`${subject} is ${flags.yank ? 'yanked' : 'removed'}.${rebuildNote}`);
    return { package: name, version: args.version ?? null, skip };
  }
}
