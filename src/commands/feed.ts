import { Flags } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import { feed } from '../protocols/feed.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

export default class Feed extends PiwCommand {
  static override summary = 'Show how far the index has been followed, and allow a large removal.';
  static override description = `Packages that the index has no more are removed by themselves, but never many at once: then the
master says so, and waits for --accept.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> feed', '<%= config.bin %> feed --accept 12000'];
  static override flags = {
    accept: Flags.integer({ helpValue: 'NUMBER', min: 0, description: 'let up to so many packages go' }),
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
      if (read > 0)
        this.log(`Events are read up to serial ${String(read)}, and settled up to ${String(serial)}.`);
      this.log(
        compared === null
          ? 'The index has not been compared as a whole; where names alone are watched it never is.'
          : `The index was last compared as a whole at ${new Date(compared).toISOString()}.`,
      );
      if (held !== null && held > accepted) {
        this.log(
          `It has ${String(held)} packages no more. They stay until you say piw feed --accept ${String(held)}.`,
        );
      } else if (held !== null) this.log(`Up to ${String(accepted)} packages may go at the next comparison.`);
      return {
        ...{ serial, read, held, accepted },
        compared: compared === null ? null : new Date(compared).toISOString(),
      };
    } finally {
      await bus.drain();
    }
  }
}
