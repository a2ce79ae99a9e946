import { format, type FaultReporter } from './faults.js';
import { SHA256, type ListedFile, type Listing } from './listing.js';
import { readMarkup, type Anchor, type Markup } from './markup.js';
import { checkSelfContained } from './people.js';

export const API_VERSION = '1.4';

/** The metas and attributes of accepted specifications. Those of PEP 708 (rejected) are not among them. */
const ALLOWED_METAS = ['pypi:repository-version', 'pypi:project-status', 'pypi:project-status-reason'];
const ALLOWED_DATA_ATTRIBUTES = [
  ...['data-requires-python', 'data-yanked', 'data-core-metadata', 'data-provenance', 'data-gpg-sig'],
];
/** The name that `data-core-metadata` had before PEP 714. */
const OLD_METADATA = 'data-dist-info-metadata';
const DIGEST = /^sha256=[0-9a-f]{64}$/;

/** Parses a project's page in HTML, and checks what only HTML has. */
export function parseListingHtml(text: string, path: string, report: FaultReporter): Listing {
  const files: ListedFile[] = [];
  const markup = readMarkup(text, (anchor) => {
    const file = parseAnchor(anchor, path, report);
    if (file) files.push(file);
  });
  checkHead(markup, path, report);
  const raw = [...text.matchAll(/data-requires-python\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)];
  const unescaped = raw.map(([, a, b]) => a ?? b ?? '').find((value) => /[<>]/.test(value));
  if (unescaped !== undefined) report('html-escaped', path, unescaped, '&lt; and &gt;');
  return {
    status: markup.metas.get('pypi:project-status') ?? 'active',
    reason: markup.metas.get('pypi:project-status-reason') ?? null,
    files,
    versions: null,
    serial: null,
  };
}

/** Checks what applies to the root and to projects' pages alike. */
export function checkHead(markup: Markup, path: string, report: FaultReporter): void {
  if (!markup.doctype) report('html-whole', path, 'no doctype', '<!DOCTYPE html>');
  else if (!markup.closed) report('html-whole', path, 'another ending', '</html>');
  const version = markup.metas.get('pypi:repository-version');
  if (version !== API_VERSION) report('html-version', path, version ?? 'no version', API_VERSION);
  const meta = [...markup.metas.keys()].find(
    (name) => name.startsWith('pypi:') && !ALLOWED_METAS.includes(name),
  );
  if (meta !== undefined) report('html-key', path, meta, 'no such meta');
  const base = markup.references.find(({ tag }) => tag === 'base');
  if (base) report('html-base', path, `<base href=${format(base.url)}>`, 'no base element');
  checkSelfContained(markup, path, report);
}

function parseAnchor(
  { href, text, attributes }: Anchor,
  path: string,
  report: FaultReporter,
): ListedFile | undefined {
  if (href === undefined) {
    report('html-anchor', path, `anchor ${format(text)} has no href`, 'an href');
    return undefined;
  }
  const [url, fragment] = splitFragment(href);
  const filename = lastPathSegment(url);
  const file = `${path} ${format(filename)}`;
  if (text !== filename) report('html-anchor', file, text, filename);
  const sha256 = /^sha256=(.*)$/.exec(fragment)?.[1] ?? null;
  if (sha256 === null || !SHA256.test(sha256))
    report('html-hash', file, fragment === '' ? 'no hash' : `#${fragment}`, '#sha256=…');
  const metadata = attributes['data-core-metadata'];
  const { [OLD_METADATA]: oldMetadata, ...others } = attributes;
  const unknownAttribute = Object.keys(others).find(
    (name) => name.startsWith('data-') && !ALLOWED_DATA_ATTRIBUTES.includes(name),
  );
  if (unknownAttribute !== undefined) report('html-key', file, unknownAttribute, 'no such attribute');
  if (oldMetadata !== undefined)
    report('html-dist-info-metadata', file, OLD_METADATA, 'only data-core-metadata');
  if (metadata === undefined || !DIGEST.test(metadata))
    report('html-core-metadata', file, `data-core-metadata ${format(metadata ?? 'missing')}`, 'sha256=…');
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

function splitFragment(href: string): readonly [string, string] {
  const at = href.indexOf('#');
  return at < 0 ? [href, ''] : [href.slice(0, at), href.slice(at + 1)];
}

/** Returns the last segment of a URL's path, decoded if it is validly encoded. */
function lastPathSegment(url: string): string {
  const part = (url.split('?')[0] ?? '').split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
