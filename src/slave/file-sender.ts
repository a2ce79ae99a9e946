import type { BuiltFile } from '../builder/built-wheels.js';
import type { Bus } from '../bus/bus.js';
import type { Clock } from '../concurrency/clock.js';
import { PiwError } from '../errors.js';
import { fileReader } from '../transfer/file-reader.js';
import { sendFile } from '../transfer/send-file.js';
import type { MasterSession } from './master-session.js';
import type { OnProgress } from './progress.js';

interface FileSenderOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly user: string;
  readonly session: MasterSession;
  readonly onProgress: OnProgress;
}

/** Sends the files of one build to the File Juggler, and reports how far that is. */
export class FileSender {
  readonly #options: FileSenderOptions;
  /** Completed transfers of this build: one that is requested again was found damaged. */
  readonly #completedTransfers = new Set<string>();

  constructor(options: FileSenderOptions) {
    this.#options = options;
  }

  /** Sends one file. Returns false if it gave up, so that the next IDLE requeues the build. */
  async send(file: BuiltFile, transferId: string, signal: AbortSignal): Promise<boolean> {
    const { bus, clock, user, session, onProgress } = this.#options;
    let sent = 0;
    const trouble = (error: PiwError) => {
      session.log.warning('sending failed', { file: file.filename }, error);
      onProgress({ state: 'trouble', text: error.message, code: error.code });
    };
    try {
      await sendFile({
        bus,
        clock,
        user,
        session: session.id,
        transferId,
        file,
        signal,
        read: fileReader(file.path),
        verifyDigest: this.#completedTransfers.has(transferId),
        onSent: (bytes) => {
          sent = Math.min(sent + bytes, file.filesize);
          onProgress({ state: 'sending', filename: file.filename, sent, size: file.filesize });
        },
        onTrouble: trouble,
      });
      this.#completedTransfers.add(transferId);
      return true;
    } catch (error) {
      if (signal.aborted || !(error instanceof PiwError)) throw error;
      trouble(error);
      if (error.code === 'PIW_UNKNOWN_TRANSFER') return true;
      session.log.error('transfer abandoned and build requeued', { file: file.filename });
      return false;
    }
  }
}
