import { Args, Flags } from '@oclif/core';
import { PiwError } from '../errors.js';
import { createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

export default class Add extends PiwCommand {
  static override summary = 'Add a package, or a version of one, to the farm.';
  static override description = `What is there already is brought up to date. What was added here is not removed by any feed.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> add six',
    '<%= config.bin %> add six 1.16.0 --released 2021-05-05T14:18:17Z',
    '<%= config.bin %> add internal-tool --skip "built elsewhere"',
    '<%= config.bin %> add internal-tool --unskip',
  ];
  static override args = {
    package: Args.string({ ignoreStdin: true, required: true, description: 'the name of the package' }),
    version: Args.string({ ignoreStdin: true, description: 'the version; without one, the package itself' }),
  };
  static override flags = {
    description: Flags.string({ char: 'd', helpValue: 'TEXT', description: "the package's description" }),
    skip: Flags.string({ char: 's', helpValue: 'REASON', description: 'never build it, for this reason' }),
    unskip: Flags.boolean({ default: false, description: 'build it again', exclusive: ['skip'] }),
    released: Flags.string({
      helpValue: 'TIME',
      description: 'when the version was released (default: now)',
    }),
    yank: Flags.string({
      helpValue: 'REASON',
      description: 'mark the version as yanked, whatever the index says of it',
    }),
    unyank: Flags.boolean({
      default: false,
      description: 'take that mark away: what the index says counts again',
      exclusive: ['yank'],
    }),
    alias: Flags.string({
      char: 'a',
      helpValue: 'NAME',
      multiple: true,
      description: 'another spelling; can be repeated',
    }),
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Add);
    const name = parsePackageName(args.package);
    if (args.version === undefined && (flags.yank !== undefined || flags.unyank))
      throw new PiwError('PIW_USAGE', 'what is yanked is a version: name one');
    const released = flags.released === undefined ? null : Date.parse(flags.released);
    if (released !== null && Number.isNaN(released)) {
      throw new PiwError(
        'PIW_USAGE',
        `${String(flags.released)} is no time; write it as 2021-05-05T14:18:17Z`,
      );
    }
    const bus = await this.connect(this.settings(flags));
    try {
      const chaseClient = createChaseClient(bus);
      const common = {
        package: name,
        skip: flags.skip ?? null,
        unskip: flags.unskip,
        aliases: flags.alias ?? [],
      };
      if (args.version === undefined) {
        await chaseClient.request('ADDPKG', { ...common, description: flags.description ?? null });
      } else {
        await chaseClient.request('ADDVER', {
          ...common,
          ...{ version: args.version, released, yanked: flags.yank ?? null, unyank: flags.unyank },
        });
      }
    } finally {
      await bus.drain();
    }
    this.log(
      args.version === undefined
        ? `${name} is known to the farm. Of its versions those are built that are added, or that a followed index has.`
        : `${name} ${args.version} is known to the farm; piw queue ${name} says where it stands.`,
    );
    return { package: name, version: args.version ?? null };
  }
}
