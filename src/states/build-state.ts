import { fileFromMessage, type FileState } from './file-state.js';
import type { CoreMetadata } from '../protocols/fields.js';
import type { BuiltMessage } from '../protocols/slave-driver.js';

/** What a lease is about: the build that was given out under it. */
export interface LeaseState {
  readonly lease: number;
  readonly package: string;
  readonly version: string;
  readonly abi: string;
  readonly platform: string;
}

/** One file of a build on its way: what was announced, and what was found once it was verified. */
export interface FileTransfer {
  readonly file: FileState;
  /** What it is called; once it is expected, as whoever expects it says. */
  transferId: string;
  metadataSha256: string | undefined;
  /** Under which name it was published: with another build tag than announced, maybe. */
  published: string | undefined;
  /** How it stood when it was published: see published.ts in wheels. */
  stamp: string | undefined;
  /** Another build has published a file of this name meanwhile, which stays, and serves this one. */
  served: boolean;
  requiresPython: string | null;
  coreMetadata: CoreMetadata | null;
  /** How often it has arrived with bytes missing or wrong. */
  damaged: number;
}

/**
 * An attempted build as the slave reported it, with the state of each of its files. It is logged when
 * next_file says that there is none left.
 */
export class BuildState {
  readonly lease: LeaseState;
  readonly built: BuiltMessage;
  readonly files: readonly FileTransfer[];

  constructor(lease: LeaseState, built: BuiltMessage) {
    this.lease = lease;
    this.built = built;
    // The same build has the same transfers after a restart of the Slave Driver.
    this.files = built.files.map((tuple, i) => ({
      file: fileFromMessage(tuple),
      transferId: `${String(lease.lease)}-${String(i)}`,
      metadataSha256: undefined,
      published: undefined,
      stamp: undefined,
      served: false,
      requiresPython: null,
      coreMetadata: null,
      damaged: 0,
    }));
  }

  /** The next file that has to arrive; undefined when all have. */
  get nextFile(): FileTransfer | undefined {
    return this.files.find(({ metadataSha256, served }) => metadataSha256 === undefined && !served);
  }

  get transfersDone(): boolean {
    return this.nextFile === undefined;
  }
}
