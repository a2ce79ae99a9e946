import { Flags } from '@oclif/core';
import { startWebServer } from '../farm/web-server.js';
import { EXIT_CODES, PiwCommand, untilSignal } from './base.js';
import { tellParent } from './parent.js';

export default class Web extends PiwCommand {
  static override summary = "Serve a farm's site and index, for farms without a web server of their own.";
  static override description = EXIT_CODES;
  static override examples = ['<%= config.bin %> web -o /var/www/piwheels --port 8080'];
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
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Web);
    const { 'output-path': root } = this.settings(flags);
    const signal = untilSignal();
    const log = this.createLog('web', flags);
    const onFault = (text: string): void => {
      log.warning(text);
    };
    const server = await startWebServer({ root, host: flags.host, port: flags.port, onFault });
    log.info(`serving ${root} on http://${flags.host}:${String(server.port)}/`);
    tellParent({ port: server.port });
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
  }
}
