import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { PRIORITY, oracle, type Release } from '../src/protocols/oracle.js';
import type { SimpleIndex } from '../src/pypi/index-reader.js';
import { newest, releases, type Release as Found } from '../src/pypi/releases.js';
import { parseRequirement } from '../src/wheels/names.js';
import { compareVersions, sameVersion } from '../src/wheels/versions.js';

export interface CloudGazerSettings {
  readonly index: SimpleIndex;
  /** NAME or NAME==VERSION. */
  readonly watch: readonly string[];
  /** Of a name without a version: all releases, or the newest and those that come after it. */
  readonly history: 'all' | 'newest';
  readonly pollS: number;
}

const DAY_MS = 24 * 3_600_000;

interface Watched {
  readonly name: string;
  readonly versions: readonly string[];
  /** It is also watched without a version. */
  readonly follow: boolean;
  etag: string | undefined;
  /** The newest release at the first look, from which on history `newest` begins. */
  from: string | undefined;
}

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
    const wanted = this.#wanted(watched, releases(answer));
    this.context.fence();
    const { created } = await this.#database.ask('NEWVER', {
      package: watched.name,
      origin: 'feed',
      releases: wanted.map((release) => this.#release(watched, release)),
    });
    if (created > 0) this.log.info(`${watched.name}: ${String(created)} new releases`);
    // Only now: had the database refused them, the next look must see them again.
    watched.etag = answer.etag;
  }

  #wanted(watched: Watched, found: readonly Found[]): readonly Found[] {
    const named = found.filter(({ version }) => watched.versions.some((v) => sameVersion(v, version)));
    for (const version of watched.versions) {
      if (!named.some((release) => sameVersion(release.version, version))) {
        this.log.warning(`the index has no ${watched.name} ${version}`);
      }
    }
    if (!watched.follow) return named;
    if (this.#settings.history === 'all') return found;
    const latest = newest(found);
    watched.from ??= latest?.version;
    const from = watched.from;
    const since =
      from === undefined ? [] : found.filter(({ version }) => compareVersions(version, from) >= 0);
    return [...new Set([...named, ...since.filter((release) => release.hasSdist)])];
  }

  #release(watched: Watched, found: Found): Release {
    const requested =
      watched.versions.some((v) => sameVersion(v, found.version)) || found.version === watched.from;
    const today = found.released !== null && this.clock.now() - found.released.getTime() < DAY_MS;
    return {
      version: found.version,
      released: found.released?.getTime() ?? null,
      yanked: found.yanked,
      has_sdist: found.hasSdist,
      sdist_url: found.sdistUrl,
      sdist_sha256: found.sdistSha256,
      requires_python: found.requiresPython,
      priority: requested ? PRIORITY.request : today ? PRIORITY.release : PRIORITY.backlog,
    };
  }
}

function watchList(entries: readonly string[]): readonly Watched[] {
  const byName = new Map<string, { versions: string[]; follow: boolean }>();
  for (const entry of entries) {
    const { name, version } = parseRequirement(entry);
    const known = byName.get(name) ?? { versions: [], follow: false };
    if (version === undefined) known.follow = true;
    else known.versions.push(version);
    byName.set(name, known);
  }
  return [...byName].map(([name, { versions, follow }]) => ({
    name,
    versions,
    follow,
    etag: undefined,
    from: undefined,
  }));
}
