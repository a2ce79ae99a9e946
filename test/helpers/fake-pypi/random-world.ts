import { randomBelow, seededRandom, pick, type RandomSource } from '../random.js';
import { World, normaliseName, type WorldOptions, type WorldProject, type WorldRelease } from './world.js';

interface RandomWorldOptions extends WorldOptions {
  /** The share of versions that are not valid by PEP 440, by default 0.03. */
  readonly invalidVersionShare?: number;
}

const WORDS = ['data', 'fast', 'flask', 'image', 'json', 'lib', 'My', 'net', 'Py', 'test', 'tool', 'Zope'];
const SEPARATORS = ['-', '_', '.', '--', '-_'];
const REQUIRES_PYTHON = ['>=3.8', '>=3.9,<4', '!=3.0.*,>=2.7', '~=3.10', null];
const YANK_REASONS = ['', 'broken', 'breaks "everything" & <more>', 'café ☕'];
const PYVERS = ['cp39', 'cp310', 'cp311', 'cp312', 'cp313'];
/** The files with which a release is uploaded. */
const UPLOAD_SHAPES = [
  { sdist: true, wheels: 0 },
  { sdist: true, wheels: 1 },
  { sdist: true, wheels: 1 },
  { sdist: true, wheels: 3 },
  { sdist: false, wheels: 1 },
  { sdist: false, wheels: 0 },
] as const;
const META_ACTIONS = ['add Owner someone', 'add Maintainer someone', 'remove Owner someone', 'docupdate'];

/** Generates one random history, and keeps track of the names and versions that were used. */
class RandomHistory {
  readonly world: World;
  readonly #random: RandomSource;
  readonly #invalidVersionShare: number;
  /** How many versions each name has had, continued when a project is created again. */
  readonly #versions = new Map<string, number>();
  readonly #removed: string[] = [];

  constructor(seed: number, { invalidVersionShare = 0.03, ...options }: RandomWorldOptions) {
    this.world = new World({ seed, ...options });
    this.#random = seededRandom(seed);
    this.#invalidVersionShare = invalidVersionShare;
  }

  /** The possible actions with their weights. Each returns whether it was possible. */
  readonly #actions: readonly (readonly [weight: number, act: () => boolean])[] = [
    [14, () => this.#create()],
    [34, () => this.#upload()],
    [14, () => this.#addFile()],
    [6, () => this.#note()],
    [4, () => this.#removeFile()],
    [3, () => this.#removeRelease()],
    [2, () => this.#removeProject()],
    [2, () => this.#recreate()],
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
      let remaining = this.#random() * total;
      const action = this.#actions.find(([weight]) => (remaining -= weight) < 0);
      if (action?.[1]()) return;
    }
  }

  #create(): boolean {
    const name = Array.from(
      { length: 1 + randomBelow(this.#random, 3) },
      () => pick(this.#random, WORDS) ?? '',
    )
      .concat(String(randomBelow(this.#random, 100_000)))
      .join(pick(this.#random, SEPARATORS));
    if (this.world.projects.has(normaliseName(name))) return false;
    this.#createProject(name);
    return true;
  }

  /** Creates a removed project again; its new owner may spell the name differently. */
  #recreate(): boolean {
    const name = this.#removed.splice(randomBelow(this.#random, this.#removed.length), 1)[0];
    if (name === undefined) return false;
    this.#createProject(this.#random() < 0.5 ? name : normaliseName(name));
    return true;
  }

  #createProject(name: string): void {
    const project = this.world.create(name);
    this.world.logEvent(name, 'add Owner someone');
    if (this.#random() < 0.9) this.#uploadRelease(project);
  }

  #upload(): boolean {
    const project = this.#pickBusyProject();
    if (project) this.#uploadRelease(project);
    return project !== undefined;
  }

  #uploadRelease({ name, normalised: key, releases }: WorldProject): void {
    const count = this.#versions.get(key) ?? 0;
    // Occasionally uses a version that already existed.
    const repeats = count > 0 && this.#random() < 0.05;
    const versionIndex = repeats ? randomBelow(this.#random, count) : count;
    const version = versionOf(versionIndex, key, this.#invalidVersionShare);
    if (releases.has(version)) return;
    this.#versions.set(key, Math.max(count, versionIndex + 1));
    this.world.newRelease(name, version);
    const requiresPython = pick(this.#random, REQUIRES_PYTHON) ?? null;
    const { sdist, wheels } = pick(this.#random, UPLOAD_SHAPES) ?? { sdist: true, wheels: 0 };
    if (sdist) this.#uploadFile(name, version, true, requiresPython);
    for (let left = wheels; left > 0; left -= 1) this.#uploadFile(name, version, false, requiresPython);
  }

  #uploadFile(name: string, version: string, sdist: boolean, requiresPython: string | null): void {
    const stem = this.#random() < 0.3 ? name : normaliseName(name).replaceAll('-', '_');
    const pyver = pick(this.#random, ['py3', 'py2.py3', ...PYVERS]) ?? 'py3';
    const candidates = sdist
      ? this.#availableSdistEndings(name, version).map((ending) => `${stem}-${version}${ending}`)
      : ['', '-1', '-2', '-3', '-4'].map((build) => wheelName(stem, version, build, pyver));
    const filename = candidates.find((candidate) => !this.world.filenameUsed(candidate));
    if (filename === undefined) return;
    this.world.addFile(name, version, filename, { kind: sdist ? 'sdist' : 'wheel', requiresPython, pyver });
  }

  /**
   * Returns the endings of another sdist: a release has at most one .tar.gz and one other, so that it is clear which
   * counts.
   */
  #availableSdistEndings(name: string, version: string): string[] {
    const sdists = [...this.world.release(name, version).files.values()].filter(
      ({ kind }) => kind === 'sdist',
    );
    const [first = [], others = []] = [true, false].map((gzipped) =>
      sdists.filter(({ filename }) => filename.endsWith('.tar.gz') === gzipped),
    );
    return [...(first.length === 0 ? ['.tar.gz'] : []), ...(others.length === 0 ? ['.zip', '.tar.bz2'] : [])];
  }

  #addFile(): boolean {
    return this.#withRandomRelease(({ name }, { version, requiresPython }) => {
      this.#uploadFile(name, version, this.#random() < 0.15, requiresPython);
    });
  }

  #note(): boolean {
    const project = this.#pickBusyProject();
    if (project) this.world.logEvent(project.name, pick(this.#random, META_ACTIONS) ?? '');
    return project !== undefined;
  }

  /** Removes a file, but not the last one of a yanked release: without files, no page has the reason of the yank. */
  #removeFile(): boolean {
    return this.#withRandomRelease(
      ({ name }, { version, files }) => {
        this.world.removeFile(name, version, pick(this.#random, [...files.keys()]) ?? '');
      },
      ({ files, yanked }) => files.size > (yanked === null ? 0 : 1),
    );
  }

  #removeRelease(): boolean {
    return this.#withRandomRelease(({ name }, { version }) => {
      this.world.removeRelease(name, version);
    });
  }

  #removeProject(project = pick(this.#random, this.#unquarantinedProjects())): boolean {
    if (!project) return false;
    this.world.removeProject(project.name);
    this.#removed.push(project.name);
    return true;
  }

  #yank(): boolean {
    return this.#withRandomRelease(
      ({ name }, { version }) => {
        this.world.yankRelease(name, version, pick(this.#random, YANK_REASONS));
      },
      ({ files, yanked }) => files.size > 0 && yanked === null,
    );
  }

  #unyank(): boolean {
    return this.#withRandomRelease(
      ({ name }, { version }) => {
        this.world.unyankRelease(name, version);
      },
      ({ yanked }) => yanked !== null,
    );
  }

  #quarantineProject(): boolean {
    const project = this.#pickBusyProject();
    if (project) this.world.quarantineProject(project.name);
    return project !== undefined;
  }

  #clearProject(): boolean {
    const quarantined = [...this.world.projects.values()].filter(({ status }) => status === 'quarantined');
    const project = pick(this.#random, quarantined);
    if (!project) return false;
    if (this.#random() < 0.2) return this.#removeProject(project);
    this.world.unquarantineProject(project.name);
    return true;
  }

  #quarantineRelease(): boolean {
    return this.#withRandomRelease(({ name }, { version }) => {
      this.world.quarantineRelease(name, version);
    });
  }

  #clearRelease(): boolean {
    const quarantined = this.#unquarantinedProjects().flatMap(({ name, releases }) =>
      [...releases.values()]
        .filter((release) => release.quarantined)
        .map(({ version }) => ({ name, version })),
    );
    const release = pick(this.#random, quarantined);
    if (!release) return false;
    if (this.#random() < 0.8) this.world.unquarantineRelease(release.name, release.version);
    else this.world.removeRelease(release.name, release.version);
    return true;
  }

  #setStatus(): boolean {
    const project = pick(this.#random, this.#unquarantinedProjects());
    const status = pick(this.#random, ['archived', 'deprecated', 'active'] as const) ?? 'active';
    if (project) this.world.setStatus(project.name, status);
    return project !== undefined;
  }

  #unquarantinedProjects(): WorldProject[] {
    return [...this.world.projects.values()].filter(({ status }) => status !== 'quarantined');
  }

  /** Picks a project, preferably an old one, so that a few projects have most of the releases. */
  #pickBusyProject(): WorldProject | undefined {
    const open = this.#unquarantinedProjects();
    return open[Math.floor(open.length * this.#random() ** 4)];
  }

  #withRandomRelease(
    act: (project: WorldProject, release: WorldRelease) => void,
    accepts: (release: WorldRelease) => boolean = () => true,
  ): boolean {
    const project = this.#pickBusyProject();
    const candidates = [...(project?.releases.values() ?? [])].filter(
      (candidate) => !candidate.quarantined && accepts(candidate),
    );
    // Prefers the newest releases.
    const release = candidates[candidates.length - 1 - Math.floor(candidates.length * this.#random() ** 2)];
    if (!project || !release) return false;
    act(project, release);
    return true;
  }
}

/** Returns the version with this index: always the same for a name, and never equal to that of another index. */
function versionOf(versionIndex: number, name: string, invalidVersionShare: number): string {
  const random = seededRandom(versionIndex * 7919 + name.length * 31 + (name.codePointAt(0) ?? 0));
  const base = `${1 + Math.floor(versionIndex / 10)}.${versionIndex % 10}`;
  if (random() < invalidVersionShare)
    return (
      pick(random, [`${base}-final`, `${2004 + versionIndex}d`, `dev-r${versionIndex}`, `${base}.x`]) ?? base
    );
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
 * Returns a world with a random history of `steps` actions, each of which may be several events. The same seed yields
 * the same history. A few hundred steps contain every kind of action.
 */
export function randomWorld(seed: number, steps: number, options: RandomWorldOptions = {}): World {
  const history = new RandomHistory(seed, options);
  for (let left = steps; left > 0; left -= 1) history.step();
  return history.world;
}
