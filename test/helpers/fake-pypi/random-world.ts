import { below, chance, pick, type Chance } from './chance.js';
import { World, normalised, type WorldOptions, type WorldProject, type WorldRelease } from './world.js';

export interface RandomWorldOptions extends WorldOptions {
  /** The share of versions that are no PEP 440 versions. Default 0.03. */
  readonly odd?: number;
}

const WORDS = ['data', 'fast', 'flask', 'image', 'json', 'lib', 'My', 'net', 'Py', 'test', 'tool', 'Zope'];
const SEPARATORS = ['-', '_', '.', '--', '-_'];
const PYTHONS = ['>=3.8', '>=3.9,<4', '!=3.0.*,>=2.7', '~=3.10', null];
const REASONS = ['', 'broken', 'breaks "everything" & <more>', 'café ☕'];
const PYVERS = ['cp39', 'cp310', 'cp311', 'cp312', 'cp313'];
/** What a release is uploaded with. */
const SHAPES = [
  { sdist: true, wheels: 0 },
  { sdist: true, wheels: 1 },
  { sdist: true, wheels: 1 },
  { sdist: true, wheels: 3 },
  { sdist: false, wheels: 1 },
  { sdist: false, wheels: 0 },
] as const;
const NOTES = ['add Owner someone', 'add Maintainer someone', 'remove Owner someone', 'docupdate'];

/** One history: what it draws, and which names and versions have been. */
class History {
  readonly world: World;
  readonly #random: Chance;
  readonly #odd: number;
  /** How many versions each name has had; what is created again counts on. */
  readonly #versions = new Map<string, number>();
  readonly #removed: string[] = [];

  constructor(seed: number, { odd = 0.03, ...options }: RandomWorldOptions) {
    this.world = new World({ seed, ...options });
    this.#random = chance(seed);
    this.#odd = odd;
  }

  /** What may be done next, and how often it is. Each says whether it could be done. */
  readonly #actions: readonly (readonly [weight: number, act: () => boolean])[] = [
    [14, () => this.#create()],
    [34, () => this.#upload()],
    [14, () => this.#addFile()],
    [6, () => this.#note()],
    [4, () => this.#removeFile()],
    [3, () => this.#removeRelease()],
    [2, () => this.#removeProject()],
    [2, () => this.#createAgain()],
    [5, () => this.#yank()],
    [3, () => this.#unyank()],
    [1, () => this.#quarantineProject()],
    [1, () => this.#clearProject()],
    [2, () => this.#quarantineRelease()],
    [1.5, () => this.#clearRelease()],
    [3, () => this.#setStatus()],
  ];

  step(): void {
    this.world.tick(this.#random() < 0.2 ? 0 : 1 + this.#random() ** 4 * 600);
    const total = this.#actions.reduce((sum, [weight]) => sum + weight, 0);
    for (;;) {
      let left = this.#random() * total;
      const action = this.#actions.find(([weight]) => (left -= weight) < 0);
      if (action?.[1]()) return;
    }
  }

  #create(): boolean {
    const name = Array.from({ length: 1 + below(this.#random, 3) }, () => pick(this.#random, WORDS) ?? '')
      .concat(String(below(this.#random, 100_000)))
      .join(pick(this.#random, SEPARATORS));
    if (this.world.projects.has(normalised(name))) return false;
    this.#begin(name);
    return true;
  }

  /** Somebody else may spell the name otherwise. */
  #createAgain(): boolean {
    const name = this.#removed.splice(below(this.#random, this.#removed.length), 1)[0];
    if (name === undefined) return false;
    this.#begin(this.#random() < 0.5 ? name : normalised(name));
    return true;
  }

  #begin(name: string): void {
    const project = this.world.create(name);
    this.world.note(name, 'add Owner someone');
    if (this.#random() < 0.9) this.#release(project);
  }

  #upload(): boolean {
    const project = this.#busyProject();
    if (project) this.#release(project);
    return project !== undefined;
  }

  #release({ name, normalised: key, releases }: WorldProject): void {
    const count = this.#versions.get(key) ?? 0;
    // Now and then a version that was there before.
    const again = count > 0 && this.#random() < 0.05;
    const number = again ? below(this.#random, count) : count;
    const version = versionOf(number, key, this.#odd);
    if (releases.has(version)) return;
    this.#versions.set(key, Math.max(count, number + 1));
    this.world.newRelease(name, version);
    const requiresPython = pick(this.#random, PYTHONS) ?? null;
    const { sdist, wheels } = pick(this.#random, SHAPES) ?? { sdist: true, wheels: 0 };
    if (sdist) this.#file(name, version, true, requiresPython);
    for (let left = wheels; left > 0; left -= 1) this.#file(name, version, false, requiresPython);
  }

  #file(name: string, version: string, sdist: boolean, requiresPython: string | null): void {
    const stem = this.#random() < 0.3 ? name : normalised(name).replaceAll('-', '_');
    const pyver = pick(this.#random, ['py3', 'py2.py3', ...PYVERS]) ?? 'py3';
    const candidates = sdist
      ? this.#archives(name, version).map((end) => `${stem}-${version}${end}`)
      : ['', '-1', '-2', '-3', '-4'].map((build) => wheelName(stem, version, build, pyver));
    const filename = candidates.find((candidate) => !this.world.filenameUsed(candidate));
    if (filename === undefined) return;
    this.world.addFile(name, version, filename, { kind: sdist ? 'sdist' : 'wheel', requiresPython, pyver });
  }

  /** What a further sdist may end in: a .tar.gz and one other, so that it is clear which one counts. */
  #archives(name: string, version: string): string[] {
    const sdists = [...this.world.release(name, version).files.values()].filter(
      ({ kind }) => kind === 'sdist',
    );
    const [first = [], others = []] = [true, false].map((gzipped) =>
      sdists.filter(({ filename }) => filename.endsWith('.tar.gz') === gzipped),
    );
    return [...(first.length === 0 ? ['.tar.gz'] : []), ...(others.length === 0 ? ['.zip', '.tar.bz2'] : [])];
  }

  #addFile(): boolean {
    return this.#onRelease(({ name }, { version, requiresPython }) => {
      this.#file(name, version, this.#random() < 0.15, requiresPython);
    });
  }

  #note(): boolean {
    const project = this.#busyProject();
    if (project) this.world.note(project.name, pick(this.#random, NOTES) ?? '');
    return project !== undefined;
  }

  /** A yanked release keeps its last file: without one, no page says why it was yanked. */
  #removeFile(): boolean {
    return this.#onRelease(
      ({ name }, { version, files }) => {
        this.world.removeFile(name, version, pick(this.#random, [...files.keys()]) ?? '');
      },
      ({ files, yanked }) => files.size > (yanked === null ? 0 : 1),
    );
  }

  #removeRelease(): boolean {
    return this.#onRelease(({ name }, { version }) => {
      this.world.removeRelease(name, version);
    });
  }

  #removeProject(project = pick(this.#random, this.#open())): boolean {
    if (!project) return false;
    this.world.removeProject(project.name);
    this.#removed.push(project.name);
    return true;
  }

  #yank(): boolean {
    return this.#onRelease(
      ({ name }, { version }) => {
        this.world.yankRelease(name, version, pick(this.#random, REASONS));
      },
      ({ files, yanked }) => files.size > 0 && yanked === null,
    );
  }

  #unyank(): boolean {
    return this.#onRelease(
      ({ name }, { version }) => {
        this.world.unyankRelease(name, version);
      },
      ({ yanked }) => yanked !== null,
    );
  }

  #quarantineProject(): boolean {
    const project = this.#busyProject();
    if (project) this.world.quarantineProject(project.name);
    return project !== undefined;
  }

  #clearProject(): boolean {
    const quarantined = [...this.world.projects.values()].filter(({ status }) => status === 'quarantined');
    const project = pick(this.#random, quarantined);
    if (!project) return false;
    if (this.#random() < 0.2) return this.#removeProject(project);
    this.world.clearProject(project.name);
    return true;
  }

  #quarantineRelease(): boolean {
    return this.#onRelease(({ name }, { version }) => {
      this.world.quarantineRelease(name, version);
    });
  }

  #clearRelease(): boolean {
    const quarantined = this.#open().flatMap(({ name, releases }) =>
      [...releases.values()].filter((each) => each.quarantined).map(({ version }) => ({ name, version })),
    );
    const release = pick(this.#random, quarantined);
    if (!release) return false;
    if (this.#random() < 0.8) this.world.clearRelease(release.name, release.version);
    else this.world.removeRelease(release.name, release.version);
    return true;
  }

  #setStatus(): boolean {
    const project = pick(this.#random, this.#open());
    const status = pick(this.#random, ['archived', 'deprecated', 'active'] as const) ?? 'active';
    if (project) this.world.setStatus(project.name, status);
    return project !== undefined;
  }

  #open(): WorldProject[] {
    return [...this.world.projects.values()].filter(({ status }) => status !== 'quarantined');
  }

  /** Old projects are the busy ones: a few have most of the releases. */
  #busyProject(): WorldProject | undefined {
    const open = this.#open();
    return open[Math.floor(open.length * this.#random() ** 4)];
  }

  #onRelease(
    act: (project: WorldProject, release: WorldRelease) => void,
    fits: (release: WorldRelease) => boolean = () => true,
  ): boolean {
    const project = this.#busyProject();
    const open = [...(project?.releases.values() ?? [])].filter((each) => !each.quarantined && fits(each));
    // The newest are touched most.
    const release = open[open.length - 1 - Math.floor(open.length * this.#random() ** 2)];
    if (!project || !release) return false;
    act(project, release);
    return true;
  }
}

/** The version of that number: always the same for a name, and never the same release as another number's. */
function versionOf(number: number, name: string, odd: number): string {
  const random = chance(number * 7919 + name.length * 31 + (name.codePointAt(0) ?? 0));
  const base = `${1 + Math.floor(number / 10)}.${number % 10}`;
  if (random() < odd)
    return pick(random, [`${base}-final`, `${2004 + number}d`, `dev-r${number}`, `${base}.x`]) ?? base;
  const forms = [
    base,
    base,
    base,
    `${base}.3`,
    `${base}rc1`,
    `${base}.dev4`,
    `${base}.post2`,
    `${base}-beta`,
    `1!${base}`,
  ];
  return pick(random, forms) ?? base;
}

function wheelName(stem: string, version: string, build: string, pyver: string): string {
  const tags = pyver.startsWith('py') ? `${pyver}-none-any` : `${pyver}-${pyver}-manylinux_2_17_x86_64`;
  return `${stem.replace(/[-_.]+/g, '_')}-${version.replaceAll('-', '_')}${build}-${tags}.whl`;
}

/**
 * A history of `steps` things that people did, each of which may be several events. The same seed gives the
 * same history. In a few hundred steps everything happens that can.
 */
export function randomWorld(seed: number, steps: number, options: RandomWorldOptions = {}): World {
  const history = new History(seed, options);
  for (let left = steps; left > 0; left -= 1) history.step();
  return history.world;
}
