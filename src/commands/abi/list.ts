import { EXIT_CODES, PiwCommand, natsFlags } from '../base.js';
import { stripControlCharacters, formatTable } from '../../monitor/table.js';
import { createOracleClient, describeTargetState } from './target.js';

export default class AbiList extends PiwCommand {
  static override summary = 'Show what is built for: each ABI on each platform.';
  static override description = `An ABI that was added or skipped is followed by the queue in the background, the newest versions
first; this shows how far.

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
      if (targets.length === 0) this.log('Nothing is built yet: piw abi add names the first ABI.');
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
