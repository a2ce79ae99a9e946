import { Args, Flags } from '@oclif/core';
import { PiwError } from '../../errors.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { confirm } from '../confirm.js';
import {
  TARGET_CHANGE_OPTIONS,
  describeTarget,
  createOracleClient,
  resolveTarget,
  targetFlags,
} from './target.js';

export default class AbiRemove extends PiwCommand {
  static override summary = 'Remove an ABI and its builds, but keep its files.';
  static override description = `The builds are removed in the background; until that is complete, piw abi add
keeps the ABI and its remaining builds. To pause an ABI, use piw abi skip.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi remove cp38',
    '<%= config.bin %> abi remove cp38 --platform linux_armv7l --yes',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'ABI to remove' }),
  };
  static override flags = {
    ...targetFlags,
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiRemove);
    const bus = await this.connect(this.settings(flags));
    try {
      const oracleClient = createOracleClient(bus);
      const { abi, platform } = await resolveTarget(oracleClient, args.abi, flags.platform);
      const targetName = describeTarget({ abi, platform });
      if (!flags.yes && !(await confirm(`Remove ${targetName} and all its builds?`))) {
        throw new PiwError('PIW_UNCONFIRMED', 'nothing was removed');
      }
      await oracleClient.request('DELABI', { abi, platform }, TARGET_CHANGE_OPTIONS);
      this.log(`${targetName} is being removed, with its builds, in the background; its files stay.`);
      return { abi, platform };
    } finally {
      await bus.drain();
    }
  }
}
