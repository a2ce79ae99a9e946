import { ProtocolClient } from '../actor/client.js';
import { rethrowUnexpected } from '../errors.js';
import { formatConditions, formatStatistics } from '../monitor/figures.js';
import { bigBrother } from '../protocols/big-brother.js';
import type { Condition } from '../protocols/conditions.js';
import { slaveControl } from '../protocols/control.js';
import type { Statistics } from '../protocols/statistics.js';
import type { Bus } from '../bus/bus.js';
import { slaveTable } from '../monitor/slave-table.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';

export default class Monitor extends PiwCommand {
  static override summary = 'Show statistics of the farm, current problems, and what its slaves are doing.';
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
      const slaveDriver = new ProtocolClient(bus, slaveControl, undefined, {
        timeoutMs: 3000,
        patienceMs: 6000,
      });
      const helloRequest = slaveDriver.request('HELLO', {});
      helloRequest.catch(() => undefined);
      const [statistics, conditions] = await Promise.all([fetchStatistics(bus), fetchConditions(bus)]);
      if (conditions && conditions.length > 0)
        this.log([...formatConditions(conditions, Date.now()), ''].join('\n'));
      if (statistics) this.log([...formatStatistics(statistics, Date.now()), ''].join('\n'));
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

/** Returns null for an actor that does not answer, so that the other answers are shown. Rethrows other errors. */
function nullIfUnanswered(error: unknown): null {
  rethrowUnexpected(error);
  return null;
}

/** Returns all statistics; null if Big Brother doesn't answer, or has none because the database is down. */
async function fetchStatistics(bus: Bus): Promise<Statistics | null> {
  const request = new ProtocolClient(bus, bigBrother, undefined, { timeoutMs: 4000 }).request('GATHER', {});
  return await request.then(({ statistics }) => statistics, nullIfUnanswered);
}

/** Returns the conditions that keep parts of the farm from working; null if Big Brother doesn't answer. */
async function fetchConditions(bus: Bus): Promise<readonly Condition[] | null> {
  const request = new ProtocolClient(bus, bigBrother, undefined, { timeoutMs: 4000 }).request(
    'CONDITIONS',
    {},
  );
  return await request.then(({ conditions }) => conditions, nullIfUnanswered);
}
