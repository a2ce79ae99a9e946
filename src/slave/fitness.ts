import { machineStats } from '../builder/machine.js';
import {
  findShortage,
  type ResourceShortage,
  type ResourceThresholds,
} from '../builder/resource-shortage.js';
import { watchDisk } from '../builder/work-folder.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import type { MachineStats } from '../model/fields.js';
import type { BuildOrder } from '../protocols/slave-driver.js';
import type { OnProgress } from './progress.js';

interface FitnessOptions {
  readonly workDir: string;
  /** Free resources that this machine must have to ask for work. */
  readonly thresholds: ResourceThresholds;
  readonly onProgress: OnProgress;
}

/**
 * Decides whether this machine can work: whether its resources are beyond the thresholds, and whether the disk that
 * it builds on is full or read-only.
 */
export class MachineFitness {
  readonly #options: FitnessOptions;
  readonly #diskWatch: ReturnType<typeof watchDisk>;
  /** Why this machine could not work at the last check. */
  #lastShortage: ResourceShortage['of'] | undefined;
  /** Builds that have run out of disk once. */
  readonly #outOfDiskBuilds = new Set<string>();

  constructor(options: FitnessOptions) {
    this.#options = options;
    this.#diskWatch = watchDisk(options.workDir, ({ text, code }) => {
      options.onProgress({ state: 'trouble', text, code });
    });
  }

  /** Returns the machine's figures, and why it can't work now; reports whether it can. */
  async check(log: Log): Promise<{ readonly stats: MachineStats; readonly shortage?: ResourceShortage }> {
    const { workDir, thresholds, onProgress } = this.#options;
    const stats = await machineStats(workDir);
    await this.#diskWatch.probe();
    const { trouble } = this.#diskWatch;
    const shortage: ResourceShortage | undefined = trouble
      ? { of: 'disk', text: trouble.text }
      : findShortage(stats, thresholds);
    if (shortage && shortage.of !== this.#lastShortage)
      log.warning('no work for now', { reason: shortage.text });
    if (!shortage && this.#lastShortage !== undefined) log.info('ready to work again');
    this.#lastShortage = shortage?.of;
    onProgress(shortage ? { state: 'resting', ...shortage } : { state: 'idle' });
    return shortage ? { stats, shortage } : { stats };
  }

  /** Records that work failed with `error`. Returns whether the disk is full or read-only. */
  isDiskFailure(error: unknown): boolean {
    this.#diskWatch.noteFailure(error);
    return this.#diskWatch.trouble !== undefined;
  }

  /**
   * Records that a build has ended. Returns whether it ran out of disk for the first time. That says nothing about
   * its package yet: something else on the same disk may have taken the space. So the build is requeued by the
   * slave's next REST or IDLE.
   */
  isFirstDiskFailure(order: BuildOrder, failureClass: string | null, log: Log): boolean {
    const { package: name, version, lease } = order;
    const build = `${name} ${version}`;
    if (failureClass !== 'disk') {
      this.#outOfDiskBuilds.delete(build);
      return false;
    }
    if (this.#outOfDiskBuilds.delete(build)) return false;
    this.#outOfDiskBuilds.add(build);
    const { workDir } = this.#options;
    log.warning('build requeued: no space left', { package: name, version, lease, path: workDir });
    this.#diskWatch.noteFailure(new PiwError('PIW_DISK_FULL', `the disk that holds ${workDir} is full`));
    return true;
  }
}
