import { isPackageName, normalise } from '../wheels/names.js';
import { format, type FaultReporter } from './faults.js';
import { checkHead } from './listing-html.js';
import { checkMeta, isObject, parseObject, parseSerialValue, checkKeys } from './listing-json.js';
import { readMarkup } from './markup.js';
import { decodeLeniently } from './people.js';

/** The root of the simple index. A project's serial is null if the root gives none. */
export interface ListedRoot {
  readonly projects: ReadonlyMap<string, number | null>;
  readonly serial: number | null;
}

/** Parses a root in JSON, and checks what only JSON has. */
export function parseRootJson(text: string, path: string, report: FaultReporter): ListedRoot | undefined {
  const page = parseObject(text, path, report);
  if (!page) return undefined;
  const { serial } = checkMeta(page, path, report);
  checkKeys(page, ['meta', 'projects'], path, report);
  const list = page['projects'];
  if (!Array.isArray(list)) {
    report('json-shape', `${path} projects`, format(list), 'a list');
    return undefined;
  }
  const projects = new Map<string, number | null>();
  let previousName: string | undefined;
  for (const item of list as readonly unknown[]) {
    const name = isObject(item) ? item['name'] : undefined;
    if (!isObject(item) || typeof name !== 'string') {
      report('json-shape', `${path} projects`, format(item), '{"name": …}');
      continue;
    }
    checkKeys(item, ['name'], path, report);
    const projectSerial = parseSerialValue(item['_last-serial'], path, report);
    if ((projectSerial === null) !== (serial === null))
      report(
        'serial-number',
        path,
        `${name} has ${projectSerial === null ? 'no serial' : 'a serial'}`,
        'the same as in meta',
      );
    if (projectSerial !== null && serial !== null && projectSerial > serial)
      report(
        'root-serial',
        path,
        `${name} has ${projectSerial}, the root has ${serial}`,
        `at least ${projectSerial} in the root`,
      );
    checkName(name, previousName, path, report);
    previousName = name;
    projects.set(name, projectSerial);
  }
  return { projects, serial };
}

/** Parses a root in HTML, and checks what only HTML has. */
export function parseRootHtml(text: string, path: string, report: FaultReporter): ReadonlySet<string> {
  const names = new Set<string>();
  let previousName: string | undefined;
  const markup = readMarkup(text, ({ href, text: name }) => {
    // A URL relative to the page or to the host, or an absolute one.
    const target = /^(?:(?:https?:\/\/[^/]+)?\/simple\/|\.\/)?([^/]+)\/$/.exec(href ?? '')?.[1];
    if (target === undefined || decodeLeniently(target) !== name)
      report('root-anchor', path, `${format(name)}: href ${format(href)}`, `${name}/`);
    checkName(name, previousName, path, report);
    previousName = name;
    names.add(name);
  });
  checkHead(markup, path, report);
  return names;
}

function checkName(
  name: string,
  previousName: string | undefined,
  path: string,
  report: FaultReporter,
): void {
  if (!isPackageName(name) || normalise(name) !== name)
    report('root-normalised', path, name, isPackageName(name) ? normalise(name) : 'a valid package name');
  if (previousName !== undefined && previousName >= name)
    report('root-order', path, `${name} after ${previousName}`, `${name} before ${previousName}, each once`);
}

/** Compares the names in another form of the root with those in JSON. */
export function checkSameNames(
  json: ReadonlyMap<string, unknown>,
  names: ReadonlySet<string>,
  path: string,
  report: FaultReporter,
): void {
  for (const name of json.keys())
    if (!names.has(name)) {
      report('root-names', path, `no ${name}`, `${name}, as in index.v1_json`);
      return;
    }
  for (const name of names)
    if (!json.has(name)) {
      report('root-names', path, name, `no ${name}, as in index.v1_json`);
      return;
    }
}
