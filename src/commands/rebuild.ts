import { Args } from '@oclif/core';
import { PiwError } from '../errors.js';
import { SITE_PARTS, type SitePart } from '../protocols/chase.js';
import { createChaseClient, parsePackageName } from './administer.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { wrongChoice } from './command-line.js';
import { suggesting } from './option-definition.js';
import { queueFlags } from './piwheels-queues.js';

const PARTS = SITE_PARTS.map((part) => part.toLowerCase());

export default class Rebuild extends PiwCommand {
  static override summary = 'Rewrite parts of the site.';
  static override description = EXIT_CODES;
  static override examples = [
    '<%= config.bin %> rebuild index six',
    '<%= config.bin %> rebuild all',
    '<%= config.bin %> rebuild home',
  ];
  static override args = {
    part: suggesting(
      Args.string({
        ignoreStdin: true,
        required: true,
        description: `part of the site to rewrite: ${PARTS.join(', ')}`,
      }),
      PARTS,
    ),
    package: Args.string({
      ignoreStdin: true,
      description: 'package whose pages to rewrite (default: all packages)',
    }),
  };
  static override flags = {
    ...natsFlags,
    ...queueFlags('import-queue'),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Rebuild);
    const part = args.part.toLowerCase();
    if (!PARTS.includes(part)) throw new PiwError('PIW_USAGE', wrongChoice('PART', args.part, PARTS));
    const name = args.package === undefined ? null : parsePackageName(args.package);
    const bus = await this.connect(this.settings(flags));
    try {
      await createChaseClient(bus).request('REBUILD', {
        part: part.toUpperCase() as SitePart,
        package: name,
      });
    } finally {
      await bus.drain();
    }
    this.log('The pages will be rewritten within a minute.');
    return { part, package: name };
  }
}
