import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { oracle } from '../src/protocols/oracle.js';
import { scribe } from '../src/protocols/web.js';
import type { SimpleIndex } from '../src/site/simple-index.js';
import type { Site } from '../src/site/site.js';

const DONE = { verb: 'DONE' } as const;
/** Rounds after which the root index counts as never standing still; the next package writes it. */
const ROOT_ROUNDS = 10;

/**
 * Writes the pages that the Secretary hands out, from what the database says at that moment. Any
 * number of Scribes share the work; no page is in two of their hands at once, but for the root of
 * the simple index, which is written until it is what the database says.
 */
export class TheScribe extends Actor {
  readonly #index: SimpleIndex;
  readonly #site: Site;
  readonly #database: Client<typeof oracle.verbs>;
  /** The names in the root index as it was last written or read here. */
  #listed = new Set<string>();

  constructor(context: ActorContext, index: SimpleIndex, site: Site) {
    super(context);
    this.#index = index;
    this.#site = site;
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 20_000, patienceMs: 50_000 });
  }

  override async start(): Promise<void> {
    this.#site.setUp();
    await this.#writeRoot();
    this.serve(
      scribe,
      {
        HOME: ({ statistics }) => {
          this.#site.writeHome(statistics);
          return DONE;
        },
        PKG: async ({ package: name }) => {
          await this.#writePackage(name);
          return DONE;
        },
        PROJECT: async ({ package: name }) => {
          await this.#writeProject(name);
          return DONE;
        },
        LOG: async ({ build_id }) => {
          await this.#writeLog(build_id);
          return DONE;
        },
        // The search and the sitemap are not on this site yet: there is nothing to write.
        SEARCH: () => DONE,
        SITEMAP: () => DONE,
        DELPKG: async ({ package: name }) => {
          await this.#writePackage(name);
          return DONE;
        },
        DELVER: async ({ package: name }) => {
          await this.#writePackage(name);
          return DONE;
        },
      },
      { concurrency: 8 },
    );
  }

  /** The simple index first, which people install from; a package with nothing to offer is in none. */
  async #writePackage(name: string): Promise<void> {
    const { status, versions, files } = await this.#database.ask('PKGFILES', { package: name });
    if (files.length > 0) {
      this.#index.write({ name, status, versions, files });
      if (!this.#listed.has(name)) await this.#writeRoot();
    } else {
      if (this.#listed.has(name)) await this.#writeRoot();
      this.#index.remove(name);
    }
    await this.#writeProject(name);
  }

  async #writeProject(name: string): Promise<void> {
    const { project } = await this.#database.ask('PROJECT', { package: name });
    if (project) this.#site.writeProject(project);
    else this.#site.removeProject(name);
  }

  async #writeLog(buildId: number): Promise<void> {
    try {
      const { output } = await this.#database.ask('GETBUILD', { build_id: buildId });
      this.#site.writeLog(buildId, output);
    } catch (error) {
      // It was removed between the request and now.
      if (!(error instanceof PiwError) || error.code !== 'PIW_REFUSED') throw error;
    }
  }

  /**
   * Another Scribe may write the root at the same time, from an older answer: so it is asked again
   * after writing, until what was written is what there is.
   */
  async #writeRoot(): Promise<void> {
    let written = '';
    for (let round = 0; round < ROOT_ROUNDS; round += 1) {
      const names: string[] = [];
      for (let page = ['']; page.length > 0; names.push(...page)) {
        page = (await this.#database.ask('INDEX', { after: names.at(-1) ?? '', limit: 10_000 })).names;
      }
      const now = names.join('\n');
      if (round > 0 && now === written) return;
      this.#index.writeRoot(names);
      this.#listed = new Set(names);
      written = now;
    }
  }
}
