import { Args, Flags } from '@oclif/core';
import { PiwError } from '../errors.js';
import { chaseOf, packageName } from './administer.js';
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
    const name = packageName(args.package);
    const whole = flags['all-versions'];
    if (whole === (args.version !== undefined)) {
      throw new PiwError('PIW_USAGE', 'name a version, or give --all-versions for the whole package');
    }
    const skip = flags.skip ?? (flags['no-rebuild'] ? 'removed by an administrator' : null);
    const what = whole ? `all of ${name}` : `${name} ${String(args.version)}`;
    if (!flags.yes && !(await confirm(`${flags.yank ? 'Yank' : 'Remove'} ${what}?`))) {
      throw new PiwError('PIW_UNCONFIRMED', 'nothing was removed');
    }
    const bus = await this.connect(this.settings(flags));
    try {
      const chase = chaseOf(bus);
      if (args.version === undefined) await chase.ask('REMPKG', { package: name, skip });
      else await chase.ask('REMVER', { package: name, version: args.version, skip, yank: flags.yank });
    } finally {
      await bus.drain();
    }
    const again =
      flags.yank || skip !== null
        ? ''
        : ' What an index still has of it is built again; with --skip it is not.';
    this.log(`${what} is ${flags.yank ? 'yanked' : 'removed'}.${again}`);
    return { package: name, version: args.version ?? null, skip };
  }
}
