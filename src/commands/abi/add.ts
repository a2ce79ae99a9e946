import { Args } from '@oclif/core';
import { PiwError } from '../../errors.js';
import { parseTarget, pyVersionTagOf } from '../../wheels/tags.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { CHANGE, abiOf, called, oracleOf, platformOf, targetFlags } from './target.js';

export default class AbiAdd extends PiwCommand {
  static override summary = 'Build for an ABI from now on.';
  static override description = `It is registered at once, and slaves that have it begin with the newest versions; the rest of the queue
is filled in the background. Without --platform, the only platform there is is meant, or that of this
machine if there is none yet.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> abi add cp313',
    '<%= config.bin %> abi add cp313t --platform linux_aarch64',
    '<%= config.bin %> abi add pypy310_pp73',
  ];
  static override args = {
    abi: Args.string({ ignoreStdin: true, required: true, description: 'the ABI, for example cp311' }),
  };
  static override flags = targetFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(AbiAdd);
    const abi = abiOf(args.abi);
    const bus = await this.connect(this.settings(flags));
    try {
      const database = oracleOf(bus);
      const { targets } = await database.ask('GETABIS', {});
      const platform = platformOf(flags.platform, targets);
      const its = { abi, platform };
      const known = targets.find((target) => target.abi === abi && target.platform === platform);
      if (known?.phase === 'skipped' || known?.phase === 'emptying') {
        throw new PiwError(
          'PIW_REFUSED',
          `${called(its)} is registered, and skipped because ${known.skip ?? ''}; see piw abi unskip`,
        );
      }
      if (known && known.phase !== 'leaving') {
        this.log(`${called(its)} is registered already.`);
        return { ...its, registered: false };
      }
      const py_version_tag = pyVersionTagOf(parseTarget(abi, platform));
      await database.ask('ADDABI', { ...its, py_version_tag, skip: null }, CHANGE);
      this.log(`${called(its)} is registered. Its queue is filled in the background: see piw abi list.`);
      return { ...its, registered: true };
    } finally {
      await bus.drain();
    }
  }
}
