import { Args, Flags } from '@oclif/core';
import { SETTING_DEFINITIONS } from '../config.js';
import { EXIT_CODES, PiwCommand, natsFlags, createShutdownSignal } from './base.js';
import { countFiles } from './logger/files.js';
import { countPipeWithoutSpool, countPipeWithSpool } from './logger/pipe.js';
import { openSpool, createLoggerContext } from './logger/set-up.js';
import { LoggerSummary, type LoggerResult } from './logger/summary.js';

export default class Logger extends PiwCommand {
  static override summary = "Pass a web server's log on to the farm, which counts downloads and visits.";
  static override description = `Reads logs from files, compressed (.gz) or not, or from a pipe.

From files, a line is counted once, however often and under whatever name it is read: the farm knows how far
each log has been counted, and knows it again by its contents when it was renamed, compressed or copied and
emptied. So a timer may run it over all of them. What isn't a whole line yet is left for the next time.

From a pipe, it goes on until that is closed, which may be months. What comes while the farm is away is kept in the
spool folder and counted when the farm is back, by whichever logger is there then; with --drop it is let
go. A full spool (--spool-limit) lets go as well.

A download is a GET of a wheel that was answered 200; parts of one (206) are none. What isn't counted is said at the end.

Formats: common, combined, and both with the virtual host first, are Apache's; nginx is nginx' own default; auto
tells these and json apart, line by line. For json, this is nginx' log_format:
  log_format piw escape=json '{"time":"$time_iso8601","host":"$remote_addr","request":"$request",'
                             '"status":$status,"agent":"$http_user_agent"}';
and Apache's:
  LogFormat "{\\"time\\":\\"%{%Y-%m-%dT%H:%M:%S%z}t\\",\\"host\\":\\"%h\\",\\"request\\":\\"%r\\",\\"status\\":%>s,\\"agent\\":\\"%{User-Agent}i\\"}" piw

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> logger /var/log/apache2/access.log /var/log/apache2/access.log.1',
    '<%= config.bin %> logger --format nginx /var/log/nginx/access.log*',
    'CustomLog "|/usr/local/bin/piw logger --format combined" combined',
    'CustomLog "|/usr/local/bin/piw logger --drop" combined',
  ];
  static override strict = false;
  static override args = {
    files: Args.string({ ignoreStdin: true, description: 'the logs; - or none: standard input' }),
  };
  static override flags = {
    format: Flags.string({
      helpValue: 'FORMAT',
      options: SETTING_DEFINITIONS.format.choices,
      description: `what the lines are like: ${SETTING_DEFINITIONS.format.choices.join(', ')} (default: ${SETTING_DEFINITIONS.format.fallback})`,
    }),
    drop: Flags.boolean({
      default: false,
      description: 'let go what comes by the pipe while the farm is away, instead of keeping it',
    }),
    spool: Flags.string({
      helpValue: 'PATH',
      description: 'keep it here (default: /var/spool/piw for root, else ~/.local/state/piw/spool)',
    }),
    'spool-limit': Flags.string({
      helpValue: 'MB',
      description: `keep no more than this (default: ${String(SETTING_DEFINITIONS['spool-limit'].fallback)})`,
    }),
    'path-prefix': Flags.string({
      helpValue: 'PATH',
      description: "where the farm's site is on the web server, as /farm (default: the path of public-url)",
    }),
    'geoip-database': Flags.string({
      helpValue: 'FILE',
      description: 'note the country of who asks, by this MaxMind database (.mmdb)',
    }),
    'log-hosts': Flags.string({
      helpValue: 'HOW',
      options: SETTING_DEFINITIONS['log-hosts'].choices,
      description:
        'of who asks, keep the address (default), truncate it to its network (/24, /48), or drop it',
    }),
    ...natsFlags,
  };
  static override enableJsonFlag = true;

  async run(): Promise<LoggerResult> {
    const { argv, flags } = await this.parse(Logger);
    const settings = this.settings(flags);
    const { context, close } = await createLoggerContext(settings, settings.format, {
      log: this.createLog('logger', flags),
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
