import type { CoreMetadata } from '../protocols/fields.js';

/** The fields of METADATA by lower-case name, each with its values in order. */
export type Headers = ReadonlyMap<string, readonly string[]>;

const MAX_LINKS = 50;
const MAX_REQUIREMENTS = 500;
const MAX_LENGTH = 1024;
/** Some projects put the text of their licence into the field; longer ones are taken for that. */
const MAX_LICENSE = 120;
const LINK = /^https?:\/\/[^\s<>"]+$/;
const LICENSE_CLASSIFIER = /^License :: (?:OSI Approved :: )?(.+)$/;

/**
 * Returns what METADATA says of the project to people, within the limits of the message (CoreMetadata in
 * protocols/fields.ts): https://packaging.python.org/en/latest/specifications/core-metadata/. Values outside the
 * limits are left out, except that a summary is cut.
 */
export function coreMetadata(headers: Headers): CoreMetadata {
  const all = (name: string): readonly string[] => headers.get(name) ?? [];
  return {
    summary: plainText(all('summary')[0], MAX_LENGTH),
    license: licenseOf(all),
    links: linksOf(all),
    requires: all('requires-dist')
      .flatMap((line) => plainText(line, Infinity) ?? [])
      .filter((line) => line.length <= MAX_LENGTH)
      .slice(0, MAX_REQUIREMENTS),
  };
}

type Fields = (name: string) => readonly string[];

function licenseOf(all: Fields): string | null {
  const stated = [...all('license-expression'), ...all('license')].flatMap(
    (value) => plainText(value, Infinity) ?? [],
  );
  const classified = all('classifier').flatMap((value) => LICENSE_CLASSIFIER.exec(value.trim())?.[1] ?? []);
  return [...stated, classified.join(', ')].find(({ length }) => length > 0 && length <= MAX_LICENSE) ?? null;
}

function linksOf(all: Fields): [label: string, url: string][] {
  const links = new Map<string, string>();
  for (const line of all('project-url')) {
    const comma = line.indexOf(',');
    add(links, line.slice(0, Math.max(comma, 0)), line.slice(comma + 1));
  }
  for (const url of all('home-page')) add(links, 'Homepage', url);
  return [...links].slice(0, MAX_LINKS).map(([url, label]) => [label, url]);
}

function add(links: Map<string, string>, label: string, url: string): void {
  const address = url.trim();
  const name = plainText(label, 100);
  if (name === null || address.length > MAX_LENGTH || !LINK.test(address) || links.has(address)) return;
  links.set(address, name);
}

/** Returns `value` without control characters, cut to `limit`; null for nothing and for setuptools' `UNKNOWN`. */
export function plainText(value: string | undefined, limit: number): string | null {
  // eslint-disable-next-line no-control-regex
  const plain = (value ?? '').replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return plain === '' || plain === 'UNKNOWN' ? null : plain.slice(0, limit);
}
