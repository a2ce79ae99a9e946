import type { Bus } from '../bus/bus.js';
import type { Settings } from '../config.js';
import type { Database } from '../database/pool.js';
import { PiwError } from '../errors.js';

/** What a machine is for the farm; a machine can be several of them. */
export const ROLES = ['master', 'builder', 'web'] as const;
export type Role = (typeof ROLES)[number];

/** Something that is wrong with an installation. */
export interface Finding {
  /** The fault in one line, with the values that matter. */
  readonly problem: string;
  /** The command or the setting that fixes it. */
  readonly fix: string;
}

/** What the checks look at. */
export interface DoctorContext {
  readonly settings: Settings;
  readonly roles: ReadonlySet<Role>;
  /** The configuration files that are read. */
  readonly files: readonly string[];
  /** The folder that contains package.json and the code of piw. */
  readonly root: string;
  /** The folder that stands for / when configuration files of servers are read; tests set another one. */
  readonly systemRoot: string;
  /** Connects to NATS as a master or as a slave, once for all checks. Throws what Bus.connect() throws. */
  readonly bus: () => Promise<Bus>;
  /** Connects to the database, once for all checks. Throws what Database.open() throws. */
  readonly database: () => Promise<Database>;
}

/** One kind of fault that an installation can have. */
export interface Check {
  readonly name: string;
  readonly applies: (context: DoctorContext) => boolean;
  /** Returns what is wrong; throws a PiwError that says so. */
  readonly run: (context: DoctorContext) => Promise<readonly Finding[]> | readonly Finding[];
}

/** Returns the finding for an error; its advice is the fix, unless there is a better one. */
export const findingOf = (error: PiwError, fix: string = error.advice): Finding => ({
  problem: error.message,
  fix,
});

/** Returns whether `open` succeeds: a check that needs a server leaves its absence to the check of that server. */
export const isReachable = (open: () => Promise<unknown>): Promise<boolean> =>
  open().then(
    () => true,
    (error: unknown) => {
      if (error instanceof PiwError) return false;
      throw error;
    },
  );
