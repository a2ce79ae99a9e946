import { PiwError } from '../errors.js';
import { isPackageName, normalise, type PackageName } from '../wheels/names.js';
import { classifyFile } from './files.js';
import type { HttpOptions } from './http.js';
import { STORABLE_VERSION } from './releases.js';
import { callXmlRpc, type XmlRpcValue } from './xmlrpc.js';

/** An event of the index in our own terms. */
export interface ChangeEvent {
  readonly serial: number;
  /** Seconds since 1970. */
  readonly time: number;
  readonly name: PackageName;
  /** Null if the event concerns the project itself. */
  readonly version: string | null;
  readonly kind: EventKind;
  /** The file that was added or removed. */
  readonly file: { readonly name: string; readonly sdist: boolean } | null;
}

export type EventKind =
  | 'create'
  | 'release'
  | 'add file'
  | 'remove file'
  | 'remove release'
  | 'remove project'
  | 'yank'
  | 'unyank'
  | 'quarantine'
  | 'clear';

/** A change, or an event without meaning here, of which only serial and time matter. */
export type ChangelogEvent =
  ChangeEvent | { readonly serial: number; readonly time: number; readonly kind: null };

/** PyPI's spellings of its actions, today and in its first years. */
const ACTIONS: readonly (readonly [RegExp, EventKind])[] = [
  [/^add (\S+) file (.+)$/, 'add file'],
  [/^new release$/, 'release'],
  [/^create$/, 'create'],
  [/^remove file (.+)$/, 'remove file'],
  [/^remove release$/, 'remove release'],
  [/^remove( project)?$/, 'remove project'],
  [/^yank release$/, 'yank'],
  [/^unyank release$/, 'unyank'],
  [/^(?:project|release) quarantined?(?: enter(?:ed)?)?$/, 'quarantine'],
  [/^(?:project|release) quarantine (?:cleared|exit(?:ed)?)$/, 'clear'],
];

/** PyPI's changelog service. */
export class Changelog {
  readonly #url: string;
  readonly #options: HttpOptions;

  constructor(url: string, options: HttpOptions = {}) {
    this.#url = url;
    this.#options = options;
  }

  /** Returns the serial of the newest event. Throws PIW_INDEX, PIW_NO_CHANGELOG or ThrottledError. */
  async lastSerial(signal?: AbortSignal): Promise<number> {
    const serial = await callXmlRpc(this.#url, 'changelog_last_serial', [], this.#optionsWith(signal));
    if (!Number.isSafeInteger(serial) || (serial as number) < 0) {
      throw new PiwError('PIW_INDEX', 'changelog_last_serial did not return a serial');
    }
    return serial as number;
  }

  /** Returns the next events after a serial, in the service's order; the service limits their number. */
  async since(serial: number, signal?: AbortSignal): Promise<readonly ChangelogEvent[]> {
    const value = await callXmlRpc(this.#url, 'changelog_since_serial', [serial], this.#optionsWith(signal));
    if (!Array.isArray(value))
      throw new PiwError('PIW_INDEX', 'changelog_since_serial did not return a list');
    return (value as readonly XmlRpcValue[]).map(parseEvent);
  }

  #optionsWith(signal: AbortSignal | undefined): HttpOptions {
    return signal === undefined ? this.#options : { ...this.#options, signal };
  }
}

/** Parses an event. Throws PIW_INDEX if it isn't [name, version, time, action, serial]. */
export function parseEvent(value: XmlRpcValue): ChangelogEvent {
  const [name, version, time, action, serial] = Array.isArray(value) ? (value as XmlRpcValue[]) : [];
  if (
    typeof name !== 'string' ||
    !Number.isSafeInteger(time) ||
    typeof action !== 'string' ||
    !Number.isSafeInteger(serial)
  ) {
    throw new PiwError('PIW_INDEX', 'the changelog contains an invalid event');
  }
  const eventVersion = typeof version === 'string' && version !== '' ? version : null;
  const projectName = projectNameOf(name);
  const event = projectName === undefined ? undefined : interpret(projectName, eventVersion, action);
  if (!event) return { serial: serial as number, time: time as number, kind: null };
  const { kind, file } = event;
  return {
    serial: serial as number,
    time: time as number,
    name: event.name,
    version: event.version,
    kind,
    file,
  };
}

/** A cache of one name: successive events are often of the same project, and there are millions of them. */
let lastProject: { readonly spelled: string; readonly name: PackageName | undefined } | undefined;

function projectNameOf(spelled: string): PackageName | undefined {
  if (lastProject?.spelled !== spelled)
    lastProject = { spelled, name: isPackageName(spelled) ? normalise(spelled) : undefined };
  return lastProject.name;
}

function interpret(
  name: PackageName,
  version: string | null,
  action: string,
): Omit<ChangeEvent, 'serial' | 'time'> | undefined {
  for (const [pattern, kind] of ACTIONS) {
    const match = pattern.exec(action);
    if (!match) continue;
    // In PyPI's first years, `remove` with a version removed the release.
    const effectiveKind = kind === 'remove project' && version !== null ? 'remove release' : kind;
    const isReleaseEvent =
      effectiveKind !== 'create' && effectiveKind !== 'remove project' && !action.startsWith('project');
    if (isReleaseEvent && (version === null || !STORABLE_VERSION.test(version))) return undefined;
    let file: ChangeEvent['file'] = null;
    if (effectiveKind === 'add file') file = { name: match[2] ?? '', sdist: match[1] === 'source' };
    else if (effectiveKind === 'remove file') {
      const filename = match[1] ?? '';
      file = { name: filename, sdist: classifyFile(filename, name).kind === 'sdist' };
    }
    return { name, version: isReleaseEvent ? version : null, kind: effectiveKind, file };
  }
  return undefined;
}
