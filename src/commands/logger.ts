import { Args, Flags } from '@oclif/core';
import { SETTING_DEFINITIONS } from '../config.js';
import { EXIT_CODES, PiwCommand, natsFlags, createShutdownSignal } from './base.js';
import { queueFlags } from './piwheels-queues.js';
import { countFiles } from './logger/files.js';
import { countPipeWithoutSpool, countPipeWithSpool } from './logger/pipe.js';
import { openSpool, createLoggerContext } from './logger/set-up.js';
import { LoggerSummary, type LoggerResult } from './logger/summary.js';

export default class Logger extends PiwCommand {
  static override summary = "Send a web server's access log to the farm, which counts downloads and visits.";
  static override description = `Reads access logs from files, plain or compressed (.gz), or from a pipe.

Files: each line is counted once, however often and under whatever name it is
read. The farm remembers how far each log has been counted, and recognises a
log by its contents after it was renamed, compressed, or copied and truncated.
A timer can therefore run this command over all logs. An incomplete last line
is left for the next run.

Pipe: the command runs until the pipe is closed, possibly for months. Lines
that arrive while the farm is down are kept in the spool folder, and counted
by the next logger that reaches the farm. They are dropped with --drop, or if
the spool is full (--spool-limit).

A download is a GET of a wheel that was answered with 200; partial responses
(206) do not count. At its end the command reports what it did not count.

Formats: common and combined, and both with the virtual host first (_vhost),
are Apache's; nginx is nginx's default; auto detects these and json line by
line. For json, set this log_format in nginx:
  log_format piw escape=json
    '{"time":"$time_iso8601","host":"$remote_addr",'
    '"request":"$request","status":$status,'
    '"agent":"$http_user_agent"}';
and this LogFormat in Apache:
  LogFormat "{\\"time\\":\\"%{%Y-%m-%dT%H:%M:%S%z}t\\",\\"host\\":\\"%h\\",\\
  \\"request\\":\\"%r\\",\\"status\\":%>s,\\"agent\\":\\"%{User-Agent}i\\"}" piw

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> logger /var/log/apache2/access.log /var/log/apache2/access.log.1',
    '<%= config.bin %> logger --format nginx /var/log/nginx/access.log*',
    'CustomLog "|/usr/local/bin/piw logger --format combined" combined',
    'CustomLog "|/usr/local/bin/piw logger --drop" combined',
  ];
  static override strict = false;
  static override args = {
    files: Args.string({
      ignoreStdin: true,
      description: 'log files; - or no files: standard input',
    }),
  };
  static override flags = {
    format: Flags.string({
      helpValue: 'FORMAT',
      options: SETTING_DEFINITIONS.format.choices,
      description: `format of the lines: ${SETTING_DEFINITIONS.format.choices.join(', ')} (default: ${SETTING_DEFINITIONS.format.fallback})`,
    }),
    drop: Flags.boolean({
      default: false,
      description: 'drop lines that arrive through the pipe while the farm is down, instead of spooling them',
    }),
    spool: Flags.string({
      helpValue: 'PATH',
      description: 'spool folder (default: /var/spool/piw for root, otherwise ~/.local/state/piw/spool)',
    }),
    'spool-limit': Flags.string({
      helpValue: 'MB',
      description: `maximum size of the spool folder (default: ${SETTING_DEFINITIONS['spool-limit'].fallback})`,
    }),
    'path-prefix': Flags.string({
      helpValue: 'PATH',
      description: "path of the farm's site on the web server, e.g. /farm (default: the path of public-url)",
    }),
    'geoip-database': Flags.string({
      helpValue: 'FILE',
      description: "record each client's country, using this MaxMind database (.mmdb)",
    }),
    'log-hosts': Flags.string({
      helpValue: 'HOW',
      options: SETTING_DEFINITIONS['log-hosts'].choices,
      description:
        "what to do with each client's address: keep it (default), truncate it to its network (/24, /48), or drop it",
    }),
    ...natsFlags,
    ...queueFlags('log-queue'),
  };
  static override enableJsonFlag = true;

  protected override readonly usesRunningFarm = false;

  async run(): Promise<LoggerResult> {
    const { argv, flags } = await this.parse(Logger);
    const settings = this.settings(flags);
    const { context, close } = await createLoggerContext(settings, settings.format, {
      log: this.createLog('logger', flags, settings),
      signal: createShutdownSignal(),
      connect: () => this.connect(settings),
    });
    const names = argv.length > 0 ? (argv as string[]) : ['-'];
    const files = names.filter((name) => name !== '-');
    const summary = new LoggerSummary();
    try {
      if (files.length > 0) await countFiles(files, context, summary);
      if (files.length < names.length && settings.drop)
        await countPipeWithoutSpool(process.stdin, context, summary);
      else if (files.length < names.length)
        await countPipeWithSpool(process.stdin, context, summary, openSpool(settings));
    } finally {
      close();
    }
    for (const line of summary.text()) this.log(line);
    if (summary.failed) process.exitCode = 1;
    return summary.result();
  }
}
