import { ProtocolClient } from '../actor/client.js';
import { formatConditions, formatRows, statisticsRows } from '../monitor/figures.js';
import { slaveControl } from '../protocols/control.js';
import { slaveTable } from '../monitor/slave-table.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { queueFlags } from './piwheels-queues.js';
import { fetchConditions, fetchStatistics, nullIfUnanswered } from './status/figures.js';

export default class Monitor extends PiwCommand {
  static override summary = 'Show statistics of the farm, current problems, and what its slaves are doing.';
  static override description = EXIT_CODES;
  static override examples = ['<%= config.bin %> monitor', '<%= config.bin %> monitor --json'];
  static override flags = {
    ...natsFlags,
    ...queueFlags('status-queue', 'control-queue'),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Monitor);
    const bus = await this.connect(this.settings(flags));
    try {
      const slaveDriver = new ProtocolClient(bus, slaveControl, undefined, {
        timeoutMs: 3000,
        patienceMs: 6000,
      });
      const helloRequest = slaveDriver.request('HELLO', {});
      helloRequest.catch(() => undefined);
      const [statistics, conditions] = await Promise.all([fetchStatistics(bus), fetchConditions(bus)]);
      if (conditions && conditions.length > 0)
        this.log([...formatConditions(conditions, Date.now()), ''].join('\n'));
      if (statistics) this.log([...formatRows(statisticsRows(statistics, Date.now())), ''].join('\n'));
      const slaves = conditions
        ? await helloRequest.then((answer) => answer.slaves, nullIfUnanswered)
        : (await helloRequest).slaves;
      this.log(
        slaves === null
          ? 'The Slave Driver does not answer.'
          : slaves.length === 0
            ? 'No slave has connected yet.'
            : slaveTable(slaves, Date.now()).join('\n'),
      );
      return { statistics, slaves, conditions };
    } finally {
      await bus.drain();
    }
  }
}
