import type { BuildLease } from '../../src/model/lease-state.js';
import { fileFromMessage, type FileState } from '../../src/model/file-state.js';
import type { CoreMetadata } from '../../src/model/fields.js';
import type { BuiltMessage } from '../../src/protocols/slave-driver.js';

/** The transfer of one file of a build: what the slave announced, and what verification found. */
export interface FileTransfer {
  readonly file: FileState;
  /** The transfer's id; once the file is announced, the id in the File Juggler's answer to EXPECT. */
  transferId: string;
  metadataSha256: string | undefined;
  /** The name under which it was published; its build tag may differ from the announced one. */
  published: string | undefined;
  /** The file's stamp when it was published: see src/wheels/published.ts. */
  stamp: string | undefined;
  /** Whether another build has already published a file of this name, which is kept and serves this build too. */
  served: boolean;
  requiresPython: string | null;
  coreMetadata: CoreMetadata | null;
  /** How many times it has arrived with missing or wrong bytes. */
  damaged: number;
}

/**
 * A finished build as the slave reported it, with the state of each of its files. It is recorded when nextFile
 * is undefined.
 */
export class BuildState {
  readonly lease: BuildLease;
  readonly built: BuiltMessage;
  readonly files: readonly FileTransfer[];

  constructor(lease: BuildLease, built: BuiltMessage) {
    this.lease = lease;
    this.built = built;
    // After a restart of the Slave Driver, the same build gets the same transfer ids.
    this.files = built.files.map((tuple, i) => ({
      file: fileFromMessage(tuple),
      transferId: `${lease.lease}-${i}`,
      metadataSha256: undefined,
      published: undefined,
      stamp: undefined,
      served: false,
      requiresPython: null,
      coreMetadata: null,
      damaged: 0,
    }));
  }

  /** The next file that has to arrive; undefined when all have arrived. */
  get nextFile(): FileTransfer | undefined {
    return this.files.find(({ metadataSha256, served }) => metadataSha256 === undefined && !served);
  }

  get transfersDone(): boolean {
    return this.nextFile === undefined;
  }
}
