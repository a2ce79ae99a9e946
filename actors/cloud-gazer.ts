import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { PRIORITY, oracle, type Release } from '../src/protocols/oracle.js';
import type { SimpleIndex } from '../src/pypi/index-reader.js';
import { releases } from '../src/pypi/releases.js';
import { select, watchList, type Wanted, type Watched } from '../src/pypi/watch.js';

export interface CloudGazerSettings {
  readonly index: SimpleIndex;
  /** NAME or NAME==VERSION. */
  readonly watch: readonly string[];
  /** Of a name without a version: all releases, or the newest and those that come after it. */
  readonly history: 'all' | 'newest';
  readonly pollS: number;
}

const DAY_MS = 24 * 3_600_000;

/**
 * Follows an index: at each interval every name of the watch list is asked for, and what is new, or
 * different, is told to the database. An index that can't be reached, or whose answer makes no
 * sense, changes nothing: the next look asks again.
 */
export class CloudGazer extends Actor {
  readonly #settings: CloudGazerSettings;
  readonly #watched: readonly Watched[];
  readonly #database: Client<typeof oracle.verbs>;
  readonly #missing = new Set<string>();

  constructor(context: ActorContext, settings: CloudGazerSettings) {
    super(context);
    this.#settings = settings;
    this.#watched = watchList(settings.watch);
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 30_000, patienceMs: 60_000 });
  }

  override start(): void {
    if (this.#watched.length === 0) this.log.info('the watch list is empty: nothing is followed');
    this.every(this.#settings.pollS, () => this.#look());
  }

  async #look(): Promise<void> {
    for (const watched of this.#watched) {
      try {
        await this.#project(watched);
      } catch (error) {
        if (!(error instanceof PiwError)) throw error;
        this.log.warning(`${watched.name}: ${error.message}`);
      }
    }
  }

  async #project(watched: Watched): Promise<void> {
    const answer = await this.#settings.index.project(
      watched.name,
      watched.etag === undefined ? {} : { etag: watched.etag },
    );
    if (answer === undefined) {
      if (!this.#missing.has(watched.name)) this.log.warning(`the index has no project ${watched.name}`);
      this.#missing.add(watched.name);
      return;
    }
    this.#missing.delete(watched.name);
    if ('notModified' in answer) return;
    const { wanted, missing } = select(watched, releases(answer), this.#settings.history);
    for (const version of missing) this.log.warning(`the index has no ${watched.name} ${version}`);
    this.context.fence();
    const { created } = await this.#database.ask('NEWVER', {
      package: watched.name,
      origin: 'feed',
      releases: wanted.map((one) => this.#release(one)),
    });
    if (created > 0) this.log.info(`${watched.name}: ${String(created)} new releases`);
    // Only now: had the database refused them, the next look must see them again.
    watched.etag = answer.etag;
  }

  #release({ release, requested }: Wanted): Release {
    const today = release.released !== null && this.clock.now() - release.released.getTime() < DAY_MS;
    return {
      version: release.version,
      released: release.released?.getTime() ?? null,
      yanked: release.yanked,
      has_sdist: release.hasSdist,
      sdist_url: release.sdistUrl,
      sdist_sha256: release.sdistSha256,
      requires_python: release.requiresPython,
      priority: requested ? PRIORITY.request : today ? PRIORITY.release : PRIORITY.backlog,
    };
  }
}
