import { isPackageName, normalise } from '../../wheels/names.js';
import { quote, type Tell } from './faults.js';
import { holdHead } from './listing-html.js';
import { holdMeta, isObject, objectOf, serialOf, unknownKeys } from './listing-json.js';
import { readMarkup } from './markup.js';
import { decoded } from './people.js';

/** The root of the simple index: each project with its serial, null where it says none. */
export interface Root {
  readonly projects: ReadonlyMap<string, number | null>;
  readonly serial: number | null;
}

/** Reads a root in JSON, and holds what only JSON has. */
export function rootOfJson(text: string, path: string, tell: Tell): Root | undefined {
  const page = objectOf(text, path, tell);
  if (!page) return undefined;
  const { serial } = holdMeta(page, path, tell);
  unknownKeys(page, ['meta', 'projects'], path, tell);
  const list = page['projects'];
  if (!Array.isArray(list)) {
    tell('json-shape', `${path} projects`, quote(list), 'a list');
    return undefined;
  }
  const projects = new Map<string, number | null>();
  let before: string | undefined;
  for (const item of list as readonly unknown[]) {
    const name = isObject(item) ? item['name'] : undefined;
    if (!isObject(item) || typeof name !== 'string') {
      tell('json-shape', `${path} projects`, quote(item), '{"name": …}');
      continue;
    }
    unknownKeys(item, ['name'], path, tell);
    const its = serialOf(item['_last-serial'], path, tell);
    if ((its === null) !== (serial === null))
      tell('serial-number', path, `${name} has ${its === null ? 'none' : 'one'}`, 'as meta has it');
    if (its !== null && serial !== null && its > serial)
      tell(
        'root-serial',
        path,
        `${name} has ${String(its)}, the root ${String(serial)}`,
        `${String(its)} or more`,
      );
    holdName(name, before, path, tell);
    before = name;
    projects.set(name, its);
  }
  return { projects, serial };
}

/** Reads a root in HTML, and holds what only HTML has. */
export function rootOfHtml(text: string, path: string, tell: Tell): ReadonlySet<string> {
  const names = new Set<string>();
  let before: string | undefined;
  const markup = readMarkup(text, ({ href, text: name }) => {
    // Relative, or from the top of the server.
    const target = /^(?:(?:https?:\/\/[^/]+)?\/simple\/|\.\/)?([^/]+)\/$/.exec(href ?? '')?.[1];
    if (target === undefined || decoded(target) !== name)
      tell('root-anchor', path, `${quote(name)} leads to ${quote(href)}`, `${name}/`);
    holdName(name, before, path, tell);
    before = name;
    names.add(name);
  });
  holdHead(markup, path, tell);
  return names;
}

function holdName(name: string, before: string | undefined, path: string, tell: Tell): void {
  if (!isPackageName(name) || normalise(name) !== name)
    tell('root-normalised', path, name, isPackageName(name) ? normalise(name) : 'a name of a package');
  if (before !== undefined && before >= name)
    tell('root-order', path, `${name} after ${before}`, `${name} before ${before}, each once`);
}

/** Holds the names of another form of the root against those in JSON. */
export function holdSameNames(
  json: ReadonlyMap<string, unknown>,
  names: ReadonlySet<string>,
  path: string,
  tell: Tell,
): void {
  for (const name of json.keys())
    if (!names.has(name)) {
      tell('root-names', path, `no ${name}`, `${name}, as index.v1_json says`);
      return;
    }
  for (const name of names)
    if (!json.has(name)) {
      tell('root-names', path, name, `no ${name}, as index.v1_json says`);
      return;
    }
}
