import type { CoreMetadata } from '../model/fields.js';

/** The fields of METADATA by lower-case name, each with its values in order. */
export type Headers = ReadonlyMap<string, readonly string[]>;

const MAX_LINKS = 50;
const MAX_REQUIREMENTS = 500;
const MAX_VALUE_LENGTH = 1024;
/** Some projects put the whole text of their license into the field; longer values are taken for that. */
const MAX_LICENSE_LENGTH = 120;
const LINK_PATTERN = /^https?:\/\/[^\s<>"]+$/;
const LICENSE_CLASSIFIER = /^License :: (?:OSI Approved :: )?(.+)$/;

/**
 * Returns the parts of METADATA that describe the project to people, within the limits of the message
 * (CoreMetadata in model/fields.ts):
 * https://packaging.python.org/en/latest/specifications/core-metadata/. Values outside the limits are left
 * out, except that a summary is cut.
 */
export function coreMetadataOf(headers: Headers): CoreMetadata {
  const valuesOf = (name: string): readonly string[] => headers.get(name) ?? [];
  return {
    summary: plainText(valuesOf('summary')[0], MAX_VALUE_LENGTH),
    license: licenseOf(valuesOf),
    links: linksOf(valuesOf),
    requires: valuesOf('requires-dist')
      .flatMap((line) => plainText(line, Infinity) ?? [])
      .filter((line) => line.length <= MAX_VALUE_LENGTH)
      .slice(0, MAX_REQUIREMENTS),
  };
}

type FieldLookup = (name: string) => readonly string[];

function licenseOf(valuesOf: FieldLookup): string | null {
  const stated = [...valuesOf('license-expression'), ...valuesOf('license')].flatMap(
    (value) => plainText(value, Infinity) ?? [],
  );
  const classified = valuesOf('classifier').flatMap(
    (value) => LICENSE_CLASSIFIER.exec(value.trim())?.[1] ?? [],
  );
  return (
    [...stated, classified.join(', ')].find(({ length }) => length > 0 && length <= MAX_LICENSE_LENGTH) ??
    null
  );
}

function linksOf(valuesOf: FieldLookup): [label: string, url: string][] {
  const links = new Map<string, string>();
  for (const line of valuesOf('project-url')) {
    const comma = line.indexOf(',');
    addLink(links, line.slice(0, Math.max(comma, 0)), line.slice(comma + 1));
  }
  for (const url of valuesOf('home-page')) addLink(links, 'Homepage', url);
  return [...links].slice(0, MAX_LINKS).map(([url, label]) => [label, url]);
}

function addLink(links: Map<string, string>, label: string, url: string): void {
  const address = url.trim();
  const name = plainText(label, 100);
  if (name === null || address.length > MAX_VALUE_LENGTH || !LINK_PATTERN.test(address) || links.has(address))
    return;
  links.set(address, name);
}

/** Returns `value` without control characters, cut to `limit`; null for nothing and for setuptools' `UNKNOWN`. */
export function plainText(value: string | undefined, limit: number): string | null {
  // eslint-disable-next-line no-control-regex
  const plain = (value ?? '').replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
  return plain === '' || plain === 'UNKNOWN' ? null : plain.slice(0, limit);
}
