import { Args } from '@oclif/core';
import { PiwError } from '../../errors.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import {
  TARGET_CHANGE_OPTIONS,
  describeTarget,
  createOracleClient,
  resolveTarget,
  targetFlags,
} from './target.js';

export default class AbiUnskip extends PiwCommand {
  static override summary = 'Resume building for an ABI that was skipped.';
  static override description = `Its queue is filled in the background, newest versions first.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi unskip cp39',
    '<%= config.bin %> abi unskip cp313t --platform linux_aarch64',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'ABI to resume' }),
  };
  static override flags = targetFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiUnskip);
    const bus = await this.connect(this.settings(flags));
    try {
      const oracleClient = createOracleClient(bus);
      const target = await resolveTarget(oracleClient, args.abi, flags.platform);
      const { abi, platform, py_version_tag } = target;
      if (target.phase === 'leaving') {
        throw new PiwError('PIW_REFUSED', `${describeTarget(target)} is being removed; piw abi add keeps it`);
      }
      await oracleClient.request(
        'ADDABI',
        { abi, platform, py_version_tag, skip: null },
        TARGET_CHANGE_OPTIONS,
      );
      this.log(`${describeTarget(target)} is no longer skipped. Its queue is filled in the background.`);
      return { abi, platform };
    } finally {
      await bus.drain();
    }
  }
}
