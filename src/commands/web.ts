import { statSync } from 'node:fs';
import { Flags } from '@oclif/core';
import type { Settings } from '../config.js';
import { PiwError, rethrowUnexpected } from '../errors.js';
import { aborted } from '../concurrency/abort.js';
import { startWebServer, type AnsweredRequest } from '../web/web-server.js';
import type { Log } from '../log.js';
import { EXIT_CODES, PiwCommand, natsFlags, createShutdownSignal } from './base.js';
import { sendToParent } from './parent.js';
import { AnswerCounter } from './web/answer-counter.js';

export default class Web extends PiwCommand {
  static override summary = "Serve a farm's site and index, for farms without a web server of their own.";
  static override description = `The farm counts downloads and visits; --nats says where it is. Requests that
arrive while the farm is down are kept in the spool folder and counted when it
is back. With --drop they are not counted, and with --no-count nothing is.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> web -o /var/www/piwheels --port 8080',
    '<%= config.bin %> web -o /var/www/piwheels --no-count',
  ];
  static override flags = {
    'output-path': Flags.string({
      char: 'o',
      helpValue: 'PATH',
      description: 'folder to serve (default: /var/www/piwheels)',
    }),
    port: Flags.integer({
      default: 8080,
      min: 0,
      max: 65_535,
      helpValue: 'NUMBER',
      description: 'port to listen on; 0: any free port',
    }),
    host: Flags.string({
      default: '127.0.0.1',
      helpValue: 'ADDRESS',
      description: 'address to listen on',
    }),
    count: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'send downloads and visits to the farm to be counted',
    }),
    drop: Flags.boolean({
      default: false,
      description: 'do not count requests that arrive while the farm is down, instead of spooling them',
    }),
    spool: Flags.string({
      helpValue: 'PATH',
      description: 'spool folder (default: /var/spool/piw for root, otherwise ~/.local/state/piw/spool)',
    }),
    ...natsFlags,
  };

  protected override readonly usesRunningFarm = false;

  async run(): Promise<void> {
    const { flags } = await this.parse(Web);
    const { count, ...otherFlags } = flags;
    const settings = this.settings(otherFlags);
    const { 'output-path': root } = settings;
    if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw new PiwError('PIW_CONFIG', `the output path ${root} is not a folder`);
    const signal = createShutdownSignal();
    const log = this.createLog('web', flags, settings);
    const counter = count ? await this.#startCounter(settings, log) : undefined;
    const onAnswered = (answered: AnsweredRequest): void => {
      counter?.add(answered);
    };
    const server = await startWebServer({
      root,
      host: flags.host,
      port: flags.port,
      onFault: log.warning,
      onAnswered,
    });
    log.info('serving', { path: root, url: `http://${flags.host}:${server.port}/` });
    sendToParent({ port: server.port });
    await aborted(signal);
    await server.close();
    await counter?.end();
  }

  /** Starts counting; undefined, with an error in the log, if that fails: the site is served all the same. */
  async #startCounter(settings: Settings, log: Log): Promise<AnswerCounter | undefined> {
    try {
      return await AnswerCounter.start(settings, log, () => this.connect(settings));
    } catch (error) {
      rethrowUnexpected(error);
      log.error('downloads are not counted', {}, error);
      return undefined;
    }
  }
}
