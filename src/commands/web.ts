import { Flags } from '@oclif/core';
import type { Settings } from '../config.js';
import { PiwError } from '../errors.js';
import { startWebServer, type AnsweredRequest } from '../farm/web-server.js';
import type { Log } from '../log.js';
import { EXIT_CODES, PiwCommand, natsFlags, createShutdownSignal } from './base.js';
import { sendToParent } from './parent.js';
import { AnswerCounter } from './web/answer-counter.js';

export default class Web extends PiwCommand {
  static override summary = "Serve a farm's site and index, for farms without a web server of their own.";
  static override description = `Downloads and visits are counted by the farm, which is found as every command finds it (--nats). What is asked for
while the farm is away is kept in the spool folder and counted when it is back; with --drop it is not counted, and with
--no-count nothing is.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> web -o /var/www/piwheels --port 8080',
    '<%= config.bin %> web -o /var/www/piwheels --no-count',
  ];
  static override flags = {
    'output-path': Flags.string({ char: 'o', helpValue: 'PATH', description: 'what is served' }),
    port: Flags.integer({
      default: 8080,
      min: 0,
      max: 65_535,
      description: 'where it listens; 0: anywhere free',
    }),
    host: Flags.string({
      default: '127.0.0.1',
      helpValue: 'ADDRESS',
      description: 'the address that it listens on',
    }),
    count: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'have the farm count downloads and visits',
    }),
    drop: Flags.boolean({
      default: false,
      description: 'count nothing of what is asked for while the farm is away, instead of keeping it',
    }),
    spool: Flags.string({
      helpValue: 'PATH',
      description: 'keep it here (default: /var/spool/piw for root, else ~/.local/state/piw/spool)',
    }),
    ...natsFlags,
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Web);
    const { count, ...otherFlags } = flags;
    const settings = this.settings(otherFlags);
    const { 'output-path': root } = settings;
    const signal = createShutdownSignal();
    const log = this.createLog('web', flags);
    const onFault = (text: string): void => {
      log.warning(text);
    };
    const counter = count ? await this.#startCounter(settings, log) : undefined;
    const onAnswered = (answered: AnsweredRequest): void => {
      counter?.add(answered);
    };
    const server = await startWebServer({ root, host: flags.host, port: flags.port, onFault, onAnswered });
    log.info(`serving ${root} on http://${flags.host}:${String(server.port)}/`);
    sendToParent({ port: server.port });
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener(
        'abort',
        () => {
          resolve();
        },
        { once: true },
      );
    });
    await server.close();
    await counter?.end();
  }

  /** A site whose downloads can't be counted is served all the same. */
  async #startCounter(settings: Settings, log: Log): Promise<AnswerCounter | undefined> {
    try {
      return await AnswerCounter.start(settings, log, () => this.connect(settings));
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      log.error(`downloads are not counted: ${error.message}. ${error.advice}`);
      return undefined;
    }
  }
}
