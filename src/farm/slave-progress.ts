import type { FarmEvent } from './events.js';
import { slaveName } from './slave.js';

/** Shortages that last until somebody frees space. */
const SPACE_SHORTAGES: ReadonlySet<string> = new Set(['disk', 'memory']);

interface SlaveProgressOptions {
  readonly onEvent: (event: FarmEvent) => void;
  /** Called with the reason when a slave lacks space: builds would be retried until somebody frees some. */
  readonly onSpaceShortage: (text: string) => void;
}

/** Turns the progress messages of this machine's slaves into events. */
export class SlaveProgressReporter {
  readonly #options: SlaveProgressOptions;
  /** The shortage for which each slave is resting, by the slave's number. */
  readonly #restReasons = new Map<number, unknown>();
  #warnedUnconfined = false;

  constructor(options: SlaveProgressOptions) {
    this.#options = options;
  }

  /** Handles a message from a slave over IPC. */
  handleMessage(slave: number, message: unknown): void {
    const { onEvent } = this.#options;
    const progress = (message as { progress?: Record<string, unknown> } | null)?.progress;
    switch (progress?.['state']) {
      case 'idle':
        this.#restReasons.delete(slave);
        onEvent({ event: 'idle', slave });
        return;
      case 'building':
      case 'sending':
        onEvent({ event: progress['state'], slave, ...progress } as unknown as FarmEvent);
        return;
      case 'resting':
        // A resting slave repeats this every few seconds.
        if (this.#restReasons.get(slave) === progress['of']) return;
        this.#restReasons.set(slave, progress['of']);
        this.#reportTrouble(
          slave,
          `takes no work: ${String(progress['text'])}`,
          SPACE_SHORTAGES.has(String(progress['of'])),
        );
        return;
      case 'unconfined':
        // One warning is enough: all slaves run on this machine.
        if (this.#warnedUnconfined) return;
        this.#warnedUnconfined = true;
        onEvent({ event: 'trouble', text: String(progress['text']) });
        return;
      case 'trouble':
        this.#reportTrouble(slave, String(progress['text']), progress['code'] === 'PIW_DISK_FULL');
    }
  }

  #reportTrouble(slave: number, text: string, lacksSpace: boolean): void {
    const { onEvent, onSpaceShortage } = this.#options;
    onEvent({ event: 'trouble', text: `${slaveName(slave)}: ${text}` });
    if (lacksSpace) onSpaceShortage(text);
  }
}
