import { createHash } from 'node:crypto';
import { draw } from '../random.js';

/** An event of the changelog; the timestamp is in seconds, UTC. */
export type WorldEvent = readonly [
  name: string,
  version: string | null,
  timestamp: number,
  action: string,
  serial: number,
];

export type PypiProjectStatus = 'active' | 'archived' | 'deprecated' | 'quarantined';

export interface WorldFile {
  readonly filename: string;
  readonly kind: 'sdist' | 'wheel';
  /** The Python version in PyPI's sense; `source` for an sdist. */
  readonly pyver: string;
  readonly url: string;
  readonly sha256: string;
  readonly size: number;
  /** The event of its upload. */
  readonly event: EventRecord;
}

export interface WorldRelease {
  readonly version: string;
  /** The value of its first file: PyPI has one for the whole release. */
  requiresPython: string | null;
  /** The reason, which may be empty; null if the release is not yanked. */
  yanked: string | null;
  quarantined: boolean;
  readonly files: Map<string, WorldFile>;
}

export interface WorldProject {
  /** The name as its owner spells it. */
  readonly name: string;
  readonly normalised: string;
  status: PypiProjectStatus;
  /** The serial of its last event. */
  serial: number;
  readonly releases: Map<string, WorldRelease>;
}

interface ExpectedVersion {
  /** The earliest upload time of its current files. */
  readonly released: Date | null;
  readonly has_sdist: boolean;
  readonly sdist_url: string | null;
  readonly sdist_sha256: string | null;
  readonly requires_python: string | null;
  readonly yanked: string | null;
  readonly quarantined: boolean;
}

interface ExpectedProject {
  readonly status: PypiProjectStatus;
  readonly versions: ReadonlyMap<string, ExpectedVersion>;
}

export interface WorldOptions {
  /** The last serial before the first event. */
  readonly serial?: number;
  /** The initial time, seconds since 1970, UTC. */
  readonly now?: number;
  /** The base URL of files. */
  readonly filesUrl?: string;
  /** By how many seconds at most timestamps are earlier than the order of the serials suggests. */
  readonly disorder?: number;
  /** The share of events before which some serials are skipped. */
  readonly gaps?: number;
  readonly seed?: number;
}

interface NewFile {
  readonly kind: 'sdist' | 'wheel';
  readonly requiresPython?: string | null;
  /** For a wheel, by default py3. */
  readonly pyver?: string;
}

interface EventRecord {
  readonly name: string;
  readonly version: string | null;
  readonly time: number;
  readonly action: string;
  readonly serial: number;
}

/** Normalises a name by PEP 503. */
export const normaliseName = (name: string): string => name.replace(/[-_.]+/g, '-').toLowerCase();

/**
 * The contents of PyPI and its changelog. Each method is an action of PyPI's users or administrators, and throws if
 * PyPI would refuse it: a quarantined project or release can't be changed until it is cleared or removed, and no
 * filename is ever used twice.
 */
export class World {
  readonly projects = new Map<string, WorldProject>();
  readonly #records: EventRecord[] = [];
  readonly #filenames = new Set<string>();
  readonly #filesUrl: string;
  readonly #seed: number;
  /** The serial of the last event. */
  serial: number;
  /** The time, seconds since 1970, UTC; only tick() advances it. */
  now: number;
  disorder: number;
  gaps: number;

  constructor(options: WorldOptions = {}) {
    this.serial = options.serial ?? 0;
    this.now = options.now ?? Date.UTC(2024, 0, 1) / 1000;
    this.disorder = options.disorder ?? 0;
    this.gaps = options.gaps ?? 0;
    this.#seed = options.seed ?? 1;
    this.#filesUrl = options.filesUrl ?? 'https://files.pythonhosted.org/packages/';
  }

  tick(seconds: number): void {
    this.now += Math.round(seconds);
  }

  create(name: string): WorldProject {
    if (this.projects.has(normaliseName(name))) throw new Error(`${name} already exists`);
    const project: WorldProject = {
      name,
      normalised: normaliseName(name),
      status: 'active',
      serial: 0,
      releases: new Map(),
    };
    this.projects.set(project.normalised, project);
    this.#record(project, null, 'create');
    return project;
  }

  newRelease(name: string, version: string): WorldRelease {
    const project = this.#unquarantinedProject(name);
    if (project.releases.has(version)) throw new Error(`${name} ${version} already exists`);
    const release: WorldRelease = {
      version,
      requiresPython: null,
      yanked: null,
      quarantined: false,
      files: new Map(),
    };
    project.releases.set(version, release);
    this.#record(project, version, 'new release');
    return release;
  }

  addFile(name: string, version: string, filename: string, options: NewFile): WorldFile {
    const { project, release } = this.#unquarantinedRelease(name, version);
    if (this.#filenames.has(filename)) throw new Error(`the filename ${filename} has already been used`);
    this.#filenames.add(filename);
    if (release.files.size === 0) release.requiresPython ??= options.requiresPython ?? null;
    const pyver = options.kind === 'sdist' ? 'source' : (options.pyver ?? 'py3');
    const event = this.#record(project, version, `add ${pyver} file ${filename}`);
    const sha256 = createHash('sha256').update(filename).digest('hex');
    const file: WorldFile = {
      filename,
      kind: options.kind,
      pyver,
      url: `${this.#filesUrl}${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256.slice(4)}/${filename}`,
      sha256,
      size: 1000 + (Number.parseInt(sha256.slice(0, 6), 16) % 5_000_000),
      event,
    };
    release.files.set(filename, file);
    return file;
  }

  removeFile(name: string, version: string, filename: string): void {
    const { project, release } = this.#unquarantinedRelease(name, version);
    if (!release.files.delete(filename)) throw new Error(`${name} ${version} has no file ${filename}`);
    this.#record(project, version, `remove file ${filename}`);
  }

  /** Removes a release; the changelog has no events for its files. */
  removeRelease(name: string, version: string): void {
    const project = this.#unquarantinedProject(name);
    if (!project.releases.delete(version)) throw new Error(`${name} has no version ${version}`);
    this.#record(project, version, 'remove release');
  }

  /** Removes a project; the changelog has no events for its releases. */
  removeProject(name: string): void {
    const project = this.project(name);
    this.projects.delete(project.normalised);
    this.#record(project, null, 'remove project');
  }

  /** Yanks a release; the changelog does not contain the reason. */
  yankRelease(name: string, version: string, reason = ''): void {
    const { project, release } = this.#unquarantinedRelease(name, version);
    release.yanked = reason;
    this.#record(project, version, 'yank release');
  }

  unyankRelease(name: string, version: string): void {
    const { project, release } = this.#unquarantinedRelease(name, version);
    release.yanked = null;
    this.#record(project, version, 'unyank release');
  }

  quarantineProject(name: string): void {
    const project = this.#unquarantinedProject(name);
    project.status = 'quarantined';
    this.#record(project, null, 'project quarantined');
  }

  /** Clears a project's quarantine; the project is then active, even if it was archived before. */
  unquarantineProject(name: string): void {
    const project = this.project(name);
    project.status = 'active';
    this.#record(project, null, 'project quarantine cleared');
  }

  quarantineRelease(name: string, version: string): void {
    const { project, release } = this.#unquarantinedRelease(name, version);
    release.quarantined = true;
    this.#record(project, version, 'release quarantined');
  }

  unquarantineRelease(name: string, version: string): void {
    const project = this.#unquarantinedProject(name);
    this.release(name, version).quarantined = false;
    this.#record(project, version, 'release quarantine cleared');
  }

  /** Sets a project's status, for which the changelog has no event. */
  setStatus(name: string, status: 'active' | 'archived' | 'deprecated'): void {
    this.#unquarantinedProject(name).status = status;
  }

  /** Logs an event without any effect, such as `add Owner someone` or `docupdate`. */
  logEvent(name: string, action: string): void {
    this.#record(this.project(name), null, action);
  }

  /** Returns a project by any spelling of its name; throws if it does not exist. */
  project(name: string): WorldProject {
    const project = this.projects.get(normaliseName(name));
    if (!project) throw new Error(`there is no project ${name}`);
    return project;
  }

  release(name: string, version: string): WorldRelease {
    const release = this.project(name).releases.get(version);
    if (!release) throw new Error(`${name} has no version ${version}`);
    return release;
  }

  filenameUsed(filename: string): boolean {
    return this.#filenames.has(filename);
  }

  uploadTime(file: WorldFile): Date {
    return new Date(this.#timestampOf(file.event) * 1000);
  }

  /** The whole changelog, in the order of the serials. */
  get events(): WorldEvent[] {
    return [...this.eventsSince(-1)];
  }

  /** Yields the events after a serial. */
  *eventsSince(serial: number): Generator<WorldEvent> {
    for (let index = this.#indexAfter(serial); ; index += 1) {
      const row = this.#records[index];
      if (!row) return;
      yield this.#eventOf(row);
    }
  }

  /** Yields the events up to a serial, the last one first. */
  *eventsUpTo(serial: number): Generator<WorldEvent> {
    for (let index = this.#indexAfter(serial) - 1; ; index -= 1) {
      const row = this.#records[index];
      if (!row) return;
      yield this.#eventOf(row);
    }
  }

  /** Returns the serial that is `events` events after another; the last one if there are fewer. */
  serialAfter(serial: number, events: number): number {
    return this.#records[this.#indexAfter(serial) + events - 1]?.serial ?? this.serial;
  }

  /**
   * Returns what a reader that has missed nothing knows. That does not include what was removed; it does include what
   * is quarantined, as it was before, although the pages no longer show it.
   */
  expectedProjects(): Map<string, ExpectedProject> {
    return new Map(
      [...this.projects.values()].map(({ normalised, status, releases }) => [
        normalised,
        {
          status,
          versions: new Map(
            [...releases].map(([version, release]) => [version, this.#expectedVersion(release)]),
          ),
        },
      ]),
    );
  }

  #expectedVersion({ files, requiresPython, yanked, quarantined }: WorldRelease): ExpectedVersion {
    const sdists = [...files.values()].filter(({ kind }) => kind === 'sdist');
    // pip prefers the .tar.gz.
    const sdist = sdists.find(({ filename }) => filename.endsWith('.tar.gz')) ?? sdists[0];
    const times = [...files.values()].map((file) => this.uploadTime(file).getTime());
    return {
      released: times.length === 0 ? null : new Date(Math.min(...times)),
      has_sdist: sdist !== undefined,
      sdist_url: sdist?.url ?? null,
      sdist_sha256: sdist?.sha256 ?? null,
      requires_python: files.size === 0 ? null : requiresPython,
      yanked,
      quarantined,
    };
  }

  #unquarantinedProject(name: string): WorldProject {
    const project = this.project(name);
    if (project.status === 'quarantined') throw new Error(`${name} is quarantined`);
    return project;
  }

  #unquarantinedRelease(name: string, version: string): { project: WorldProject; release: WorldRelease } {
    const project = this.#unquarantinedProject(name);
    const release = this.release(name, version);
    if (release.quarantined) throw new Error(`${name} ${version} is quarantined`);
    return { project, release };
  }

  #record(project: WorldProject, version: string | null, action: string): EventRecord {
    const roll = draw(this.#seed, 'gap', this.serial);
    // Transactions that were rolled back leave gaps in the serials.
    this.serial += roll < this.gaps ? 2 + Math.floor((roll / this.gaps) * 5) : 1;
    project.serial = this.serial;
    const row = { name: project.name, version, time: this.now, action, serial: this.serial };
    this.#records.push(row);
    return row;
  }

  /**
   * Returns an event's timestamp: the start of its transaction. The serial is assigned later, so the order of
   * timestamps can differ from the order of serials.
   */
  #timestampOf({ time, serial }: EventRecord): number {
    return time - Math.floor(draw(this.#seed, 'disorder', serial) * (this.disorder + 1));
  }

  #eventOf(row: EventRecord): WorldEvent {
    return [row.name, row.version, this.#timestampOf(row), row.action, row.serial];
  }

  /** Returns the index of the first record after a serial. */
  #indexAfter(serial: number): number {
    let low = 0;
    let high = this.#records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#records[middle]?.serial ?? 0) > serial) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
