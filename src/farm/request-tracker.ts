import type { Bus } from '../bus/bus.js';
import { systemClock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { rethrowUnexpected } from '../errors.js';
import type { FarmEvent } from './events.js';
import { updateStates, type RequestedVersion } from './requested-versions.js';

const UPDATE_INTERVAL_MS = 300;

interface RequestTrackerOptions {
  /** Whether the farm ends when no version is waiting: a failure that is retried later then counts as failed. */
  readonly once: boolean;
  readonly signal: AbortSignal;
  readonly onEvent: (event: FarmEvent) => void;
}

/** Follows the versions that the user requested until each is published or has failed. */
export class RequestTracker {
  readonly #options: RequestTrackerOptions;
  #requestedVersions: readonly RequestedVersion[] = [];

  constructor(options: RequestTrackerOptions) {
    this.#options = options;
  }

  /** Reports each requested version once it is published or has failed; resolves when none is waiting. */
  async waitForAll(bus: Bus, url: string, wanted: readonly RequestedVersion[]): Promise<void> {
    const { once, signal } = this.#options;
    const reported = new Set<RequestedVersion>();
    this.#requestedVersions = wanted;
    this.#reportSettled(reported);
    while (!signal.aborted && wanted.some(({ state }) => state === 'waiting')) {
      try {
        await updateStates(bus, url, wanted, { patient: !once });
      } catch (error) {
        // A part of the farm is restarting; its state is in the database.
        rethrowUnexpected(error);
      }
      this.#reportSettled(reported);
      await pause(systemClock, UPDATE_INTERVAL_MS, signal);
    }
    // A slave's report may have settled versions since the last round.
    this.#reportSettled(reported);
  }

  /** Fails all versions that are still waiting, if the user waits for the end. */
  giveUp(why: string): void {
    if (!this.#options.once) return;
    for (const requestedVersion of this.#requestedVersions)
      if (requestedVersion.state === 'waiting') Object.assign(requestedVersion, { state: 'failed', why });
  }

  #reportSettled(reported: Set<RequestedVersion>): void {
    const { onEvent } = this.#options;
    for (const requestedVersion of this.#requestedVersions) {
      if (requestedVersion.state === 'waiting' || reported.has(requestedVersion)) continue;
      reported.add(requestedVersion);
      const { name, version, filenames, why } = requestedVersion;
      if (requestedVersion.state === 'published')
        onEvent({ event: 'published', package: name, version: version ?? '', filenames });
      else onEvent({ event: 'not-built', package: name, version: version ?? null, why: why ?? '' });
    }
  }
}
