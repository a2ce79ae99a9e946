import { Flags } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import { feed } from '../protocols/feed.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { formatQuantity } from '../units.js';

export default class Feed extends PiwCommand {
  static override summary = 'Show how far the farm has followed the index, or approve a large removal.';
  static override description = `Packages that are no longer in the index are removed automatically, unless too
many would go at once: then the master logs a warning and waits for --accept.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> feed', '<%= config.bin %> feed --accept 12000'];
  static override flags = {
    accept: Flags.integer({
      helpValue: 'NUMBER',
      min: 0,
      description: 'approve the removal of up to this many packages',
    }),
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Feed);
    const bus = await this.connect(this.settings(flags));
    try {
      const client = new ProtocolClient(bus, feed, undefined, { timeoutMs: 5000, patienceMs: 10_000 });
      if (flags.accept !== undefined) await client.request('ACCEPT', { count: flags.accept });
      const { position } = await client.request('POSITION', {});
      const { serial, read, compared, held, accepted } = position;
      if (read > 0) this.log(`Events are read up to serial ${read}, and processed up to ${serial}.`);
      this.log(
        compared === null
          ? 'The farm has not been compared with the whole index yet; one that watches only names never is.'
          : `The farm was last compared with the whole index at ${new Date(compared).toISOString()}.`,
      );
      if (held !== null && held > accepted) {
        this.log(
          `${formatQuantity(held, 'package is', 'packages are')} no longer in the index, and stay until you run piw feed --accept ${held}.`,
        );
      } else if (held !== null || flags.accept !== undefined) {
        if (held === null) this.log('No package waits to be removed now.');
        this.log(`Up to ${formatQuantity(accepted, 'package')} may be removed at the next comparison.`);
      }
      return {
        serial,
        read,
        held,
        accepted,
        compared: compared === null ? null : new Date(compared).toISOString(),
      };
    } finally {
      await bus.drain();
    }
  }
}
