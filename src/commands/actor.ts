import { Args, Flags } from '@oclif/core';
import { CAST, actorSpecOf } from '../../actors/cast.js';
import { runProcess } from '../actor/process.js';
import { masterConnection } from '../connection.js';
import { PiwError } from '../errors.js';
import { EXIT_CODES, PiwCommand, duplicateFilenameFlag, tlsFlags } from './base.js';
import { suggesting } from './option-definition.js';

export default class Actor extends PiwCommand {
  static override summary = 'Run one task of the farm, on any machine that can reach its servers.';
  static override description = `The process starts work at once; on SIGTERM it finishes what it is doing and
exits. If only one process may run a task at a time, further processes stand
by and take over within seconds.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> actor the-oracle -c /etc/piwheels.conf',
    '<%= config.bin %> actor the_scribe -o /var/www/piwheels',
    '<%= config.bin %> actor --list',
  ];
  static override args = {
    task: suggesting(
      Args.string({ ignoreStdin: true, description: 'task to run; --list shows all of them' }),
      CAST.map(({ task }) => task),
    ),
  };
  static override flags = {
    list: Flags.boolean({ default: false, description: 'list the tasks and exit' }),
    dsn: Flags.string({
      char: 'd',
      helpValue: 'DSN',
      description: "the farm's database (default: postgres:///piwheels)",
    }),
    nats: Flags.string({
      helpValue: 'ADDRESS',
      description: "address of the farm's NATS servers (default: localhost)",
    }),
    ...tlsFlags,
    prefix: Flags.string({
      helpValue: 'NAME',
      description: "first token of the farm's NATS subjects (default: piw)",
    }),
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'PATH',
      description: 'folder of the site and the wheels (default: /var/www/piwheels)',
    }),
    'on-duplicate-filename': duplicateFilenameFlag,
    'pypi-simple': Flags.string({
      helpValue: 'URL',
      description: 'simple API of the index to follow (default: https://pypi.org/simple)',
    }),
  };
  static override enableJsonFlag = true;

  protected override readonly usesRunningFarm = false;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Actor);
    if (flags.list) {
      const tasks = CAST.map(({ task, kind, pausing }) => ({ task, kind, pausing }));
      for (const { task, kind } of tasks) this.log(`${task.padEnd(16)}${kind}`);
      return tasks;
    }
    if (args.task === undefined)
      throw new PiwError('PIW_USAGE', 'TASK is missing; piw actor --list shows the tasks');
    const actorSpec = actorSpecOf(args.task);
    const settings = this.settings(flags);
    const code = await runProcess(actorSpec, settings, {
      bus: { ...masterConnection(settings), name: actorSpec.task },
      log: this.createLog(actorSpec.task, flags, settings),
    });
    process.exitCode = code;
    return { exit: code };
  }
}
