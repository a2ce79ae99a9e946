import { ProtocolClient } from '../../actor/client.js';
import type { Settings } from '../../config.js';
import { rethrowUnexpected } from '../../errors.js';
import { slaveControl, type SlaveStatus } from '../../protocols/control.js';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { stripControlCharacters, formatTable } from '../../monitor/table.js';
import { slaveUsersFlags, openSlaveUsers } from './users.js';

/** A slave that is idle or building reports more often than this, milliseconds. */
const MAX_SILENCE_MS = 120_000;

/** Returns whether a slave is connected. One that is sending a large file is silent for longer. */
const isConnected = ({ state, last_seen }: SlaveStatus): boolean =>
  state !== 'gone' && (state === 'sending' || Date.now() - last_seen < MAX_SILENCE_MS);

export default class SlavesList extends PiwCommand {
  static override summary = 'List the slaves that may build for this farm.';
  static override description = `Shows the public key of each slave and when it was added. If the farm can be
reached, also shows whether the slave is connected, or when it was last seen
since the master started, and why it is not building: for example, it is set
aside if its builds fail more often than those of other slaves.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves list', '<%= config.bin %> slaves list --json'];
  static override flags = slaveUsersFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(SlavesList);
    const settings = this.settings(flags);
    const users = openSlaveUsers(settings).list();
    const allSessions = await this.#fetchSessions(settings);
    const slaves = users.map((user) => {
      const sessions = allSessions?.filter((row) => row.user === user.name) ?? [];
      const lastSeenAt = sessions.reduce((latest, row) => Math.max(latest, row.last_seen), 0);
      return {
        ...user,
        connected: allSessions ? sessions.some((row) => isConnected(row)) : null,
        notes: sessions.flatMap((row) => (isConnected(row) && row.note !== null ? [row.note] : [])),
        last_seen: lastSeenAt === 0 ? null : new Date(lastSeenAt).toISOString().replace(/\.\d+/, ''),
      };
    });
    if (slaves.length === 0)
      this.log('No slave may build for this farm yet. Add one with piw slaves add NAME.');
    else {
      const rows = slaves.map(({ name, label, publicKey, added, connected, last_seen, notes }) => [
        ...[name, stripControlCharacters(label ?? ''), publicKey, added],
        connected === null
          ? 'unknown'
          : connected
            ? ['connected', ...notes.map(stripControlCharacters)].join('; ')
            : (last_seen ?? 'not seen'),
      ]);
      for (const line of formatTable([['slave', 'label', 'public key', 'added', 'last seen'], ...rows]))
        this.log(line);
    }
    return { slaves };
  }

  /** Returns the sessions that the Slave Driver knows; undefined, with a message on stderr, if it can't be reached. */
  async #fetchSessions(settings: Settings): Promise<readonly SlaveStatus[] | undefined> {
    try {
      const bus = await this.connect(settings);
      try {
        const driver = new ProtocolClient(bus, slaveControl, undefined, { timeoutMs: 3000 });
        return (await driver.request('HELLO', {})).slaves;
      } finally {
        await bus.drain();
      }
    } catch (error) {
      rethrowUnexpected(error);
      this.logToStderr(`piw: can't tell which slaves are connected: ${error.message}.`);
      return undefined;
    }
  }
}
