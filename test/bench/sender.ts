/** A process that sends one file at a time to the File Juggler on request, as a slave does. */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../src/concurrency/clock.js';
import { fileReader } from '../../src/transfer/file-reader.js';
import { sendFile } from '../../src/transfer/send-file.js';
import { Bus } from '../../src/bus/bus.js';
import { errorMessage } from '../../src/errors.js';
import type { FileState } from '../../src/model/file-state.js';

/** A request to send a file. */
export interface SendOrder {
  readonly transferId: string;
  readonly path: string;
  readonly file: FileState;
}
/** The report after a file was sent. */
export interface SendReport {
  readonly sent?: number;
  readonly breaks?: number;
  readonly error?: string;
}

const [address = '', user = 'slave'] = process.argv.slice(2);
const bus = await Bus.connect({ address, name: 'sender', inboxPrefix: `_INBOX_${user}` });
const session = randomBytes(8).toString('hex');

async function send({ transferId, path, file }: SendOrder): Promise<SendReport> {
  let sent = 0;
  let breaks = 0;
  try {
    await sendFile({
      bus,
      clock: systemClock,
      user,
      session,
      transferId,
      file,
      read: fileReader(path),
      onSent: (bytes) => (sent += bytes),
      onTrouble: () => (breaks += 1),
    });
    return { sent, breaks };
  } catch (error) {
    return { sent, breaks, error: errorMessage(error) };
  }
}

process.on('message', (order: SendOrder) => {
  void send(order).then((report) => process.send?.(report));
});
process.once('disconnect', () => process.exit());
process.send?.({ ready: true });
