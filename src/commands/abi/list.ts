import { EXIT_CODES, PiwCommand, natsFlags } from '../base.js';
import { stripControlCharacters, formatTable } from '../../monitor/table.js';
import { createOracleClient, describeTargetState } from './target.js';

export default class AbiList extends PiwCommand {
  static override summary = 'List the ABIs that the farm builds for, each on its platform.';
  static override description = `After an ABI is added or skipped, the queue is updated in the background,
newest versions first; the list shows the progress.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> abi list', '<%= config.bin %> abi list --json'];
  static override flags = {
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(AbiList);
    const bus = await this.connect(this.settings(flags));
    try {
      const { targets } = await createOracleClient(bus).request('GETABIS', {});
      if (targets.length === 0)
        this.log('No ABI is registered yet, so nothing is built. Add one with piw abi add.');
      else {
        const rows = targets.map((target) => [
          target.abi,
          target.platform,
          stripControlCharacters(describeTargetState(target)),
        ]);
        for (const line of formatTable([['ABI', 'platform', 'state'], ...rows])) this.log(line);
      }
      return { targets };
    } finally {
      await bus.drain();
    }
  }
}
