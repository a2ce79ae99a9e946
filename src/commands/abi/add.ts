import { Args } from '@oclif/core';
import { PiwError } from '../../errors.js';
import { parseTarget, pyVersionTagOf } from '../../wheels/tags.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import {
  TARGET_CHANGE_OPTIONS,
  parseAbi,
  describeTarget,
  createOracleClient,
  resolvePlatform,
  targetFlags,
} from './target.js';

export default class AbiAdd extends PiwCommand {
  static override summary = 'Start building for an ABI.';
  static override description = `The ABI is registered at once, and slaves that have it start with the newest
versions; the rest of the queue is filled in the background. If no platform is
registered yet, the default is that of this machine.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi add cp313',
    '<%= config.bin %> abi add cp313t --platform linux_aarch64',
    '<%= config.bin %> abi add pypy310_pp73',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'ABI to build for, e.g. cp311' }),
  };
  static override flags = targetFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiAdd);
    const abi = parseAbi(args.abi);
    const bus = await this.connect(this.settings(flags));
    try {
      const oracleClient = createOracleClient(bus);
      const { targets } = await oracleClient.request('GETABIS', {});
      const platform = resolvePlatform(flags.platform, targets);
      const requestedTarget = { abi, platform };
      const registeredTarget = targets.find((target) => target.abi === abi && target.platform === platform);
      if (registeredTarget?.phase === 'skipped' || registeredTarget?.phase === 'emptying') {
        throw new PiwError(
          'PIW_REFUSED',
          `${describeTarget(requestedTarget)} is registered but skipped: ${registeredTarget.skip ?? ''}; use piw abi unskip`,
        );
      }
      if (registeredTarget && registeredTarget.phase !== 'leaving') {
        this.log(`${describeTarget(requestedTarget)} is already registered.`);
        return { ...requestedTarget, registered: false };
      }
      const py_version_tag = pyVersionTagOf(parseTarget(abi, platform));
      await oracleClient.request(
        'ADDABI',
        { ...requestedTarget, py_version_tag, skip: null },
        TARGET_CHANGE_OPTIONS,
      );
      this.log(
        `${describeTarget(requestedTarget)} is registered. Its queue is being filled; piw abi list shows the progress.`,
      );
      return { ...requestedTarget, registered: true };
    } finally {
      await bus.drain();
    }
  }
}
