import { Args, Flags } from '@oclif/core';
import { EXIT_CODES, PiwCommand } from '../base.js';
import {
  TARGET_CHANGE_OPTIONS,
  describeTarget,
  createOracleClient,
  resolveTarget,
  targetFlags,
} from './target.js';

export default class AbiSkip extends PiwCommand {
  static override summary = 'Build nothing for an ABI for now.';
  static override description = `Nothing more is given out for it, and its builds leave the queue in the background. What was built
stays, and piw abi unskip goes on.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi skip cp39 --reason "no slave has it any more"',
    '<%= config.bin %> abi skip cp313t --platform linux_aarch64 --reason "its Python is broken"',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'the ABI' }),
  };
  static override flags = {
    ...targetFlags,
    reason: Flags.string({ char: 'r', helpValue: 'TEXT', required: true, description: 'why' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiSkip);
    const bus = await this.connect(this.settings(flags));
    try {
      const oracleClient = createOracleClient(bus);
      const { abi, platform, py_version_tag } = await resolveTarget(oracleClient, args.abi, flags.platform);
      const skip = flags.reason;
      await oracleClient.request('ADDABI', { abi, platform, py_version_tag, skip }, TARGET_CHANGE_OPTIONS);
      this.log(`Nothing is built for ${describeTarget({ abi, platform })} until you say piw abi unskip.`);
      return { abi, platform, skip };
    } finally {
      await bus.drain();
    }
  }
}
