import { createHash } from 'node:crypto';
import { draw } from './chance.js';

/** As the changelog tells it; the timestamp in seconds, UTC. */
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
  /** `source` of an sdist. */
  readonly pyver: string;
  readonly url: string;
  readonly sha256: string;
  readonly size: number;
  /** The event that told of it: it was uploaded then. */
  readonly event: EventRecord;
}

export interface WorldRelease {
  readonly version: string;
  /** That of its first file: PyPI has one for a whole release. */
  requiresPython: string | null;
  /** The reason, which may be empty. */
  yanked: string | null;
  quarantined: boolean;
  readonly files: Map<string, WorldFile>;
}

export interface WorldProject {
  /** As its owner spells it. */
  readonly name: string;
  readonly normalised: string;
  status: PypiProjectStatus;
  /** Of its last event. */
  serial: number;
  readonly releases: Map<string, WorldRelease>;
}

export interface ExpectedVersion {
  /** The earliest upload of the files that are there. */
  readonly released: Date | null;
  readonly has_sdist: boolean;
  readonly sdist_url: string | null;
  readonly sdist_sha256: string | null;
  readonly requires_python: string | null;
  readonly yanked: string | null;
  readonly quarantined: boolean;
}

export interface ExpectedProject {
  readonly status: PypiProjectStatus;
  readonly versions: ReadonlyMap<string, ExpectedVersion>;
}

export interface WorldOptions {
  /** The last serial before the first event. */
  readonly serial?: number;
  /** Seconds, UTC. */
  readonly now?: number;
  /** Where files lie. */
  readonly filesUrl?: string;
  /** Timestamps are up to so many seconds before what the order of the serials would have them. */
  readonly disorder?: number;
  /** The share of events before which some serials are left out. */
  readonly gaps?: number;
  readonly seed?: number;
}

export interface NewFile {
  readonly kind: 'sdist' | 'wheel';
  readonly requiresPython?: string | null;
  /** Of a wheel; default py3. */
  readonly pyver?: string;
}

interface EventRecord {
  readonly name: string;
  readonly version: string | null;
  readonly time: number;
  readonly action: string;
  readonly serial: number;
}

/** PEP 503. */
export const normaliseName = (name: string): string => name.replace(/[-_.]+/g, '-').toLowerCase();

/**
 * What PyPI holds, and the log of how it came to that. Each method is one thing that people or
 * administrators do there, and raises where PyPI would not let them: within a quarantined project or
 * release nothing changes until it is cleared or removed, and no filename is ever used twice.
 */
export class World {
  readonly projects = new Map<string, WorldProject>();
  readonly #records: EventRecord[] = [];
  readonly #filenames = new Set<string>();
  readonly #filesUrl: string;
  readonly #seed: number;
  /** Of the last event. */
  serial: number;
  /** Seconds, UTC; moves only by tick(). */
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
    if (this.projects.has(normaliseName(name))) throw new Error(`${name} is there already`);
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
    if (project.releases.has(version)) throw new Error(`${name} ${version} is there already`);
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
    if (this.#filenames.has(filename)) throw new Error(`${filename} has been used already`);
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
    if (!release.files.delete(filename)) throw new Error(`${filename} is not there`);
    this.#record(project, version, `remove file ${filename}`);
  }

  /** Of its files the log says nothing. */
  removeRelease(name: string, version: string): void {
    const project = this.#unquarantinedProject(name);
    if (!project.releases.delete(version)) throw new Error(`${name} has no ${version}`);
    this.#record(project, version, 'remove release');
  }

  /** Of its releases the log says nothing. */
  removeProject(name: string): void {
    const project = this.project(name);
    this.projects.delete(project.normalised);
    this.#record(project, null, 'remove project');
  }

  /** The log doesn't tell the reason. */
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

  /** It is active then, even if it was archived before. */
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

  /** No event tells of it. */
  setStatus(name: string, status: 'active' | 'archived' | 'deprecated'): void {
    this.#unquarantinedProject(name).status = status;
  }

  /** An event that means nothing: `add Owner someone`, `docupdate`. */
  logEvent(name: string, action: string): void {
    this.#record(this.project(name), null, action);
  }

  /** By any spelling of its name; raises where there is none. */
  project(name: string): WorldProject {
    const project = this.projects.get(normaliseName(name));
    if (!project) throw new Error(`there is no ${name}`);
    return project;
  }

  release(name: string, version: string): WorldRelease {
    const release = this.project(name).releases.get(version);
    if (!release) throw new Error(`${name} has no ${version}`);
    return release;
  }

  filenameUsed(filename: string): boolean {
    return this.#filenames.has(filename);
  }

  uploadTime(file: WorldFile): Date {
    return new Date(this.#timestampOf(file.event) * 1000);
  }

  /** The whole log, in the order of the serials. */
  get events(): WorldEvent[] {
    return [...this.eventsSince(-1)];
  }

  /** The events after a serial. */
  *eventsSince(serial: number): Generator<WorldEvent> {
    for (let at = this.#indexAfter(serial); ; at += 1) {
      const row = this.#records[at];
      if (!row) return;
      yield this.#eventOf(row);
    }
  }

  /** The events up to a serial, the last first. */
  *eventsUpTo(serial: number): Generator<WorldEvent> {
    for (let at = this.#indexAfter(serial) - 1; ; at -= 1) {
      const row = this.#records[at];
      if (!row) return;
      yield this.#eventOf(row);
    }
  }

  /** The serial `events` events further; the last one where there are fewer. */
  serialAfter(serial: number, events: number): number {
    return this.#records[this.#indexAfter(serial) + events - 1]?.serial ?? this.serial;
  }

  /**
   * What somebody knows who has missed nothing. What is removed isn't in it; what is quarantined is, as it
   * was before, which the pages don't tell any more.
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
    // Of several, pip prefers the .tar.gz.
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
    // A transaction that was rolled back has used up its serials.
    this.serial += roll < this.gaps ? 2 + Math.floor((roll / this.gaps) * 5) : 1;
    project.serial = this.serial;
    const row = { name: project.name, version, time: this.now, action, serial: this.serial };
    this.#records.push(row);
    return row;
  }

  /** A timestamp is that of the transaction's begin, a serial is drawn later: so they disagree about order. */
  #timestampOf({ time, serial }: EventRecord): number {
    return time - Math.floor(draw(this.#seed, 'disorder', serial) * (this.disorder + 1));
  }

  #eventOf(row: EventRecord): WorldEvent {
    return [row.name, row.version, this.#timestampOf(row), row.action, row.serial];
  }

  /** The place of the first row after a serial. */
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
