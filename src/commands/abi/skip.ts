import { Args, Flags } from '@oclif/core';
import { ShortText } from '../../model/fields.js';
import { checkArguments } from '../administer.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import {
  TARGET_CHANGE_OPTIONS,
  describeTarget,
  createOracleClient,
  resolveTarget,
  targetFlags,
} from './target.js';

export default class AbiSkip extends PiwCommand {
  static override summary = 'Stop building for an ABI, until piw abi unskip.';
  static override description = `Slaves get no more builds for it, and its queue is emptied in the background.
What was built stays.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi skip cp39 --reason "no slave supports it"',
    '<%= config.bin %> abi skip cp313t --platform linux_aarch64 --reason "its Python is broken"',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'ABI to skip' }),
  };
  static override flags = {
    ...targetFlags,
    reason: Flags.string({ char: 'r', helpValue: 'TEXT', required: true, description: 'why it is skipped' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiSkip);
    checkArguments(['--reason', ShortText, flags.reason]);
    const bus = await this.connect(this.settings(flags));
    try {
      const oracleClient = createOracleClient(bus);
      const { abi, platform, py_version_tag } = await resolveTarget(oracleClient, args.abi, flags.platform);
      const skip = flags.reason;
      await oracleClient.request('ADDABI', { abi, platform, py_version_tag, skip }, TARGET_CHANGE_OPTIONS);
      this.log(`Nothing is built for ${describeTarget({ abi, platform })} until you run piw abi unskip.`);
      return { abi, platform, skip };
    } finally {
      await bus.drain();
    }
  }
}
