import { quote, type Tell } from './faults.js';
import { SHA256, type ListedFile, type Listing } from './listing.js';
import { readMarkup, type Anchor, type Markup } from './markup.js';
import { holdQuiet } from './people.js';

export const API_VERSION = '1.4';

/** What accepted specifications have in HTML. That of PEP 708 (rejected) isn't among it. */
const METAS = ['pypi:repository-version', 'pypi:project-status', 'pypi:project-status-reason'];
const DATA = [
  ...['data-requires-python', 'data-yanked', 'data-core-metadata', 'data-provenance', 'data-gpg-sig'],
];
/** The name that `data-core-metadata` had before PEP 714. */
const OLD_METADATA = 'data-dist-info-metadata';
const DIGEST = /^sha256=[0-9a-f]{64}$/;

/** Reads a project's page in HTML, and holds what only HTML has. */
export function listingOfHtml(text: string, path: string, tell: Tell): Listing {
  const files: ListedFile[] = [];
  const markup = readMarkup(text, (anchor) => {
    const file = fileOf(anchor, path, tell);
    if (file) files.push(file);
  });
  holdHead(markup, path, tell);
  const raw = [...text.matchAll(/data-requires-python\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)];
  const bare = raw.map(([, a, b]) => a ?? b ?? '').find((value) => /[<>]/.test(value));
  if (bare !== undefined) tell('html-escaped', path, bare, '&lt; and &gt;');
  return {
    status: markup.metas.get('pypi:project-status') ?? 'active',
    reason: markup.metas.get('pypi:project-status-reason') ?? null,
    files,
    versions: null,
    serial: null,
  };
}

/** What holds for the root and the projects' pages alike. */
export function holdHead(markup: Markup, path: string, tell: Tell): void {
  if (!markup.doctype) tell('html-whole', path, 'another beginning', '<!DOCTYPE html>');
  else if (!markup.closed) tell('html-whole', path, 'another end', '</html>');
  const version = markup.metas.get('pypi:repository-version');
  if (version !== API_VERSION) tell('html-version', path, version ?? 'no version', API_VERSION);
  const meta = [...markup.metas.keys()].find((name) => name.startsWith('pypi:') && !METAS.includes(name));
  if (meta !== undefined) tell('html-key', path, meta, 'no such meta');
  const base = markup.references.find(({ tag }) => tag === 'base');
  if (base) tell('html-base', path, `<base href=${quote(base.url)}>`, 'none');
  holdQuiet(markup, path, tell);
}

function fileOf({ href, text, attributes }: Anchor, path: string, tell: Tell): ListedFile | undefined {
  if (href === undefined) {
    tell('html-anchor', path, `an anchor ${quote(text)} without an address`, 'an address');
    return undefined;
  }
  const [url, fragment] = split(href);
  const filename = lastPart(url);
  const file = `${path} ${quote(filename)}`;
  if (text !== filename) tell('html-anchor', file, text, filename);
  const sha256 = /^sha256=(.*)$/.exec(fragment)?.[1] ?? null;
  if (sha256 === null || !SHA256.test(sha256))
    tell('html-hash', file, fragment === '' ? 'no hash' : `#${fragment}`, '#sha256=…');
  const metadata = attributes['data-core-metadata'];
  const { [OLD_METADATA]: oldMetadata, ...others } = attributes;
  const other = Object.keys(others).find((name) => name.startsWith('data-') && !DATA.includes(name));
  if (other !== undefined) tell('html-key', file, other, 'no such attribute');
  if (oldMetadata !== undefined)
    tell('html-dist-info-metadata', file, OLD_METADATA, 'data-core-metadata alone');
  if (metadata === undefined || !DIGEST.test(metadata))
    tell('html-core-metadata', file, `data-core-metadata ${quote(metadata ?? 'missing')}`, 'sha256=…');
  return {
    filename,
    url,
    sha256,
    requiresPython: attributes['data-requires-python'] ?? null,
    yanked: attributes['data-yanked'] ?? null,
    metadata: metadata === undefined ? null : metadata.replace(/^sha256=/, ''),
    size: null,
  };
}

function split(href: string): readonly [string, string] {
  const at = href.indexOf('#');
  return at < 0 ? [href, ''] : [href.slice(0, at), href.slice(at + 1)];
}

/** The last part of an address, decoded; as it stands where that can't be. */
export function lastPart(url: string): string {
  const part = (url.split('?')[0] ?? '').split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
