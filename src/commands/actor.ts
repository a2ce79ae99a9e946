import { Args, Flags } from '@oclif/core';
import { CAST, actorSpecOf } from '../../actors/cast.js';
import { runProcess } from '../actor/process.js';
import { masterConnection } from '../connection.js';
import { PiwError } from '../errors.js';
import { EXIT_CODES, PiwCommand, rebuiltFlag, tlsFlags } from './base.js';

export default class Actor extends PiwCommand {
  static override summary = 'Run one task of the farm, here or on any machine that reaches its servers.';
  static override description = `It joins the work at once, and on SIGTERM finishes what it has and leaves. Of a task that there
can be only one of, further processes stand by and take over within seconds.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> actor the-oracle -c /etc/piwheels.conf',
    '<%= config.bin %> actor the_scribe --nats nats://master:secret@10.0.0.1 -o /var/www/piwheels',
    '<%= config.bin %> actor --list',
  ];
  static override args = {
    task: Args.string({ ignoreStdin: true, description: 'the task; --list names them' }),
  };
  static override flags = {
    list: Flags.boolean({ default: false, description: 'name the tasks and end' }),
    dsn: Flags.string({ char: 'd', helpValue: 'DSN', description: 'the database' }),
    nats: Flags.string({ helpValue: 'ADDRESS', description: 'the NATS servers' }),
    ...tlsFlags,
    prefix: Flags.string({ helpValue: 'NAME', description: "the first token of the farm's subjects" }),
    'output-path': Flags.string({ char: 'o', helpValue: 'PATH', description: 'where the site is written' }),
    rebuilt: rebuiltFlag,
    'pypi-simple': Flags.string({ helpValue: 'URL', description: 'the simple API of the index to follow' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Actor);
    if (flags.list) {
      const tasks = CAST.map(({ task, kind, pausing }) => ({ task, kind, pausing }));
      for (const { task, kind } of tasks) this.log(`${task.padEnd(16)}${kind}`);
      return tasks;
    }
    if (args.task === undefined) throw new PiwError('PIW_USAGE', 'name a task');
    const actorSpec = actorSpecOf(args.task);
    const settings = this.settings(flags);
    const code = await runProcess(actorSpec, settings, {
      bus: { ...masterConnection(settings), name: actorSpec.task },
      log: this.createLog(actorSpec.task, flags),
    });
    process.exitCode = code;
    return { exit: code };
  }
}
