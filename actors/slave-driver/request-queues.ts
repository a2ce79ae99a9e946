import { PiwError } from '../../src/errors.js';
import type { SessionKey } from './slave-sessions.js';

/** Maximum unanswered requests per user. A slave has at most two per interpreter: BUSY, and one other. */
const MAX_PENDING_REQUESTS_PER_USER = 1000;

/** Serves the requests of each session in sequence, and limits how many of a user's requests are pending. */
export class RequestQueues {
  readonly #lastRequests = new Map<string, Promise<unknown>>();
  readonly #pendingCounts = new Map<string, number>();

  /**
   * Runs `serve` after the session's earlier requests, and settles as it does. Throws PIW_REFUSED if the user
   * has too many requests pending.
   */
  run<T>({ user, session }: SessionKey, serve: () => Promise<T>): Promise<T> {
    const key = `${user}.${session}`;
    const pendingCount = (this.#pendingCounts.get(user) ?? 0) + 1;
    if (pendingCount > MAX_PENDING_REQUESTS_PER_USER)
      throw new PiwError(
        'PIW_REFUSED',
        `${user} already has ${MAX_PENDING_REQUESTS_PER_USER} unanswered requests`,
      );
    this.#pendingCounts.set(user, pendingCount);
    const previous = this.#lastRequests.get(key) ?? Promise.resolve();
    const current = previous.then(serve, serve);
    this.#lastRequests.set(key, current);
    const release = () => {
      if (this.#lastRequests.get(key) === current) this.#lastRequests.delete(key);
      const remaining = (this.#pendingCounts.get(user) ?? 1) - 1;
      if (remaining > 0) this.#pendingCounts.set(user, remaining);
      else this.#pendingCounts.delete(user);
    };
    current.then(release, release);
    return current;
  }
}
