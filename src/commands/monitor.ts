import { Client } from '../actor/client.js';
import { slaveControl } from '../protocols/control.js';
import { slaveTable } from '../monitor/slave-table.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

export default class Monitor extends PiwCommand {
  static override summary = "List the farm's slaves and what they are doing.";
  static override description = EXIT_CODES;
  static override examples = ['<%= config.bin %> monitor', '<%= config.bin %> monitor --json'];
  static override flags = {
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Monitor);
    const bus = await this.connect(this.settings(flags));
    try {
      const { slaves } = await new Client(bus, slaveControl, undefined, {
        timeoutMs: 3000,
        patienceMs: 6000,
      }).ask('HELLO', {});
      this.log(
        slaves.length === 0 ? 'No slave has said HELLO yet.' : slaveTable(slaves, Date.now()).join('\n'),
      );
      return { slaves };
    } finally {
      await bus.drain();
    }
  }
}
