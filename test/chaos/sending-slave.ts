/**
 * A slave that builds nothing: `node sending-slave.js ADDRESS SESSION [ORDER]`. It requests a build, gets the
 * wheel for it from its parent process, and delivers it as a real slave does. With ORDER it is a slave that
 * was killed and restarted: it delivers that build. It reports by IPC what it was told to build, how many
 * bytes it has sent, errors, and when it is done.
 */
import { systemClock } from '../../src/concurrency/clock.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { fileReader } from '../../src/transfer/file-reader.js';
import { sendFile } from '../../src/transfer/send-file.js';
import { Bus } from '../../src/bus/bus.js';
import { PiwError, errorMessage } from '../../src/errors.js';
import type { Answer, Body } from '../../src/protocols/protocol.js';
import { slaveDriver, type SlaveAnswer, type SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { fileToMessage, type FileState } from '../../src/model/file-state.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

/** A wheel to deliver. */
export interface SentWheel {
  readonly lease: number;
  readonly path: string;
  readonly file: FileState;
}
export type SenderMessage =
  | { readonly order: { readonly lease: number; readonly package: string; readonly version: string } }
  | { readonly sent: number }
  | { readonly broke: string }
  | { readonly done: string };

const [address = '', session = '', resumedWheel] = process.argv.slice(2);
const notify = (message: SenderMessage): void => {
  process.send?.(message);
};
const bus = await Bus.connect({
  address,
  name: 'slave',
  inboxPrefix: '_INBOX_slave',
  bucket: 'piw-slave-slave',
});
const master = new ProtocolClient(bus, slaveDriver, ['slave', 'slave', session], { timeoutMs: 5000 });

async function request<K extends keyof SlaveVerbs>(
  verb: K,
  body: Body<SlaveVerbs, K>,
): Promise<Answer<SlaveVerbs, K>> {
  for (;;) {
    try {
      return await master.request(verb, body);
    } catch (error) {
      if (!(error instanceof PiwError) || error.code === 'PIW_UNKNOWN_TRANSFER') throw error;
      if (error.code === 'PIW_UNKNOWN_SLAVE') await hello();
      else await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function hello(): Promise<void> {
  await request('HELLO', {
    version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
    build_timeout_s: 3600,
    busy_interval_s: 30,
    py_version_tag: 'cp311',
    abi_tag: 'cp311',
    platform_tag: 'linux_x86_64',
    label: 'chaos',
    os_name: 'none',
    os_version: '',
    board: null,
    lacks: [],
    clock: Date.now(),
  });
}

/** Requests a build, and returns the wheel that was made for it. */
async function awaitBuild(): Promise<SentWheel> {
  for (;;) {
    const answer = await request('IDLE', { stats: [1e12, 1e12, 1e10, 1e10, 0, null] });
    if (answer.verb === 'BUILD') {
      const wheelMade = new Promise<SentWheel>((resolve) => process.once('message', resolve));
      notify({ order: { lease: answer.lease, package: answer.package, version: answer.version } });
      return await wheelMade;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function deliver({ lease, path, file }: SentWheel): Promise<string> {
  const announceBuilt = () =>
    request('BUILT', {
      lease,
      status: true,
      failure_class: null,
      duration_s: 1,
      output: 'built\n',
      details: NO_DETAILS,
      files: [fileToMessage(file)],
    });
  let sent = 0;
  let answer: SlaveAnswer = await announceBuilt();
  while (answer.verb === 'SEND') {
    try {
      await sendFile({
        bus,
        clock: systemClock,
        user: 'slave',
        session,
        transferId: answer.transfer_id,
        file,
        read: fileReader(path),
        onSent: (bytes) => {
          sent += bytes;
          notify({ sent });
        },
        onTrouble: (error) => {
          notify({ broke: error.message });
        },
      });
      answer = await request('SENT', { lease, filename: file.filename });
    } catch (error) {
      notify({ broke: errorMessage(error) });
      if (!(error instanceof PiwError) || error.code !== 'PIW_UNKNOWN_TRANSFER') throw error;
      answer = await announceBuilt();
    }
  }
  return answer.verb;
}

process.once('disconnect', () => process.exit());
await hello();
notify({
  done: await deliver(
    resumedWheel === undefined ? await awaitBuild() : (JSON.parse(resumedWheel) as SentWheel),
  ),
});
