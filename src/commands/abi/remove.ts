import { Args, Flags } from '@oclif/core';
import { PiwError } from '../../errors.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { confirm } from '../initdb.js';
import { CHANGE, called, oracleOf, registered, targetFlags } from './target.js';

export default class AbiRemove extends PiwCommand {
  static override summary = 'Forget an ABI and its builds; files stay.';
  static override description = `It goes on in the background; until it is over, piw abi add keeps the ABI, with what is left of its
builds. To stop only for a while, use piw abi skip.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi remove cp38',
    '<%= config.bin %> abi remove cp38 --platform linux_armv7l --yes',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'the ABI' }),
  };
  static override flags = {
    ...targetFlags,
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiRemove);
    const bus = await this.connect(this.settings(flags));
    try {
      const database = oracleOf(bus);
      const { abi, platform } = await registered(database, args.abi, flags.platform);
      const what = called({ abi, platform });
      if (!flags.yes && !(await confirm(`Forget ${what} and all its builds?`))) {
        throw new PiwError('PIW_UNCONFIRMED', 'nothing was removed');
      }
      await database.ask('DELABI', { abi, platform }, CHANGE);
      this.log(`${what} is being removed: its builds are forgotten in the background, and its files stay.`);
      return { abi, platform };
    } finally {
      await bus.drain();
    }
  }
}
