import { Args, Flags } from '@oclif/core';
import { PiwError } from '../errors.js';
import { ShortText, Text, Time, Version } from '../model/fields.js';
import { checkArguments, createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { queueFlags } from './piwheels-queues.js';

export default class Add extends PiwCommand {
  static override summary = 'Add a package or a version to the farm, or update it.';
  static override description = `A package or version that you add stays in the farm even if the followed
index does not have it.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> add six',
    '<%= config.bin %> add six 1.16.0 --released 2021-05-05T14:18:17Z',
    '<%= config.bin %> add internal-tool --skip "built elsewhere"',
    '<%= config.bin %> add internal-tool --unskip',
  ];
  static override args = {
    package: Args.string({ ignoreStdin: true, required: true, description: 'name of the package' }),
    version: Args.string({
      ignoreStdin: true,
      description: 'version to add; without it, only the package is added',
    }),
  };
  static override flags = {
    description: Flags.string({
      char: 'd',
      helpValue: 'TEXT',
      description: 'short description of the package',
    }),
    skip: Flags.string({
      char: 's',
      helpValue: 'REASON',
      description: 'do not build it, and record this reason',
    }),
    unskip: Flags.boolean({
      default: false,
      description: 'undo --skip: build it again',
      exclusive: ['skip'],
    }),
    released: Flags.string({
      helpValue: 'TIME',
      description: 'when the version was released, e.g. 2021-05-05T14:18:17Z (default: now)',
    }),
    yank: Flags.string({
      helpValue: 'REASON',
      description: 'mark the version as yanked, even if the index does not',
    }),
    unyank: Flags.boolean({
      default: false,
      description: 'undo --yank: the version is yanked only if the index says so',
      exclusive: ['yank'],
    }),
    alias: Flags.string({
      char: 'a',
      helpValue: 'NAME',
      multiple: true,
      multipleNonGreedy: true,
      description: 'another spelling of the name; can be repeated',
    }),
    yes: Flags.boolean({
      char: 'y',
      description: 'accepted for scripts that pass it to every command: this one asks nothing',
    }),
    ...natsFlags,
    ...queueFlags('import-queue'),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Add);
    const name = parsePackageName(args.package);
    if (
      args.version === undefined &&
      (flags.yank !== undefined || flags.unyank || flags.released !== undefined)
    )
      throw new PiwError('PIW_USAGE', '--released, --yank and --unyank need a version; name one');
    if (args.version !== undefined && flags.description !== undefined)
      throw new PiwError('PIW_USAGE', `--description is for the package: piw add ${name} --description TEXT`);
    const released = flags.released === undefined ? null : Date.parse(flags.released);
    if (released !== null && Number.isNaN(released)) {
      throw new PiwError(
        'PIW_USAGE',
        `--released ${JSON.stringify(flags.released)}: must be a time such as 2021-05-05T14:18:17Z`,
      );
    }
    checkArguments(
      ['VERSION', Version, args.version],
      ['--description', Text, flags.description],
      ['--skip', ShortText, flags.skip],
      ['--yank', ShortText, flags.yank],
      ['--released', Time, released],
      ...(flags.alias ?? []).map((alias) => ['--alias', ShortText, alias] as const),
    );
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
          version: args.version,
          released,
          yanked: flags.yank ?? null,
          unyank: flags.unyank,
        });
      }
    } finally {
      await bus.drain();
    }
    const subject = args.version === undefined ? name : `${name} ${args.version}`;
    const next =
      args.version === undefined
        ? 'The farm builds the versions that you add or that the followed index has.'
        : `piw queue ${name} shows where it stands.`;
    this.log(`${subject} is registered. ${flags.skip === undefined ? next : 'It is not built.'}`);
    return { package: name, version: args.version ?? null };
  }
}
