import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import { fileJuggler } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { secretary } from '../../src/protocols/web.js';

/** The actors that carry out what Mr Chase decides. */
export class FarmClients {
  readonly oracle: ProtocolClient<typeof oracle.verbs>;
  readonly files: ProtocolClient<typeof fileJuggler.verbs>;
  readonly secretary: ProtocolClient<typeof secretary.verbs>;

  constructor(bus: Bus) {
    const askOptions = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.oracle = new ProtocolClient(bus, oracle, undefined, askOptions);
    this.files = new ProtocolClient(bus, fileJuggler, undefined, askOptions);
    this.secretary = new ProtocolClient(bus, secretary, undefined, askOptions);
  }

  /** Throws PIW_UNKNOWN_PACKAGE or PIW_UNKNOWN_VERSION if there is no such package or version (unless null). */
  async requireExists(name: string, version: string | null): Promise<void> {
    const { exists } = await this.oracle.request('PKGEXISTS', { package: name });
    if (!exists) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);
    if (version === null) return;
    const answer = await this.oracle.request('VEREXISTS', { package: name, version });
    if (!answer.exists)
      throw new PiwError('PIW_UNKNOWN_VERSION', `there is no version ${version} of ${name}`);
  }
}
