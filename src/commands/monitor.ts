import { Client } from '../actor/client.js';
import { PiwError } from '../errors.js';
import { figureLines } from '../monitor/figures.js';
import { bigBrother } from '../protocols/big-brother.js';
import { slaveControl } from '../protocols/control.js';
import type { Statistics } from '../protocols/statistics.js';
import type { Bus } from '../bus/bus.js';
import { slaveTable } from '../monitor/slave-table.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

export default class Monitor extends PiwCommand {
  static override summary = "Show the farm's figures, and its slaves and what they are doing.";
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
      const slaveDriver = new Client(bus, slaveControl, undefined, { timeoutMs: 3000, patienceMs: 6000 });
      const [{ slaves }, statistics] = await Promise.all([slaveDriver.ask('HELLO', {}), figures(bus)]);
      if (statistics) this.log([...figureLines(statistics, Date.now()), ''].join('\n'));
      this.log(
        slaves.length === 0 ? 'No slave has said HELLO yet.' : slaveTable(slaves, Date.now()).join('\n'),
      );
      return { statistics, slaves };
    } finally {
      await bus.drain();
    }
  }
}

/** All of the statistics; null while Big Brother doesn't answer. */
async function figures(bus: Bus): Promise<Statistics | null> {
  try {
    return (await new Client(bus, bigBrother, undefined, { timeoutMs: 4000 }).ask('GATHER', {})).statistics;
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    return null;
  }
}
