import type { SearchRow } from '../../src/model/project.js';

/** Words that names on PyPI consist of, most frequent first: the frequency of a word is about 1/rank. */
const WORDS =
  'py python django api client sdk cli tools data ml ai utils core test flask async auth aws web simple http google plugin bot azure pytest airflow provider odoo addon mcp server lib easy auto open cloud db sql json config log types stubs django rest framework parser image text file graph time date network model deep learning torch tensor nlp llm agent chat gpt openai langchain vector search index cache redis mongo postgres mysql queue task worker job schedule event stream kafka spark pandas numpy plot chart dash streamlit jupyter notebook widget theme color terminal rich click command shell script build package setup deploy docker kube helm terraform cdk lambda s3 storage backup sync crypto bitcoin wallet token nft trade stock finance bank pay shop cart order product user account login oauth jwt secret key vault password hash sign verify email mail sms push notify alert monitor metric trace health check lint format style doc sphinx mkdocs markdown html css js react vue template form admin cms blog wiki news feed rss crawler scraper spider selenium browser driver proxy vpn dns ip socket serial usb gpio raspberry pi sensor iot home assistant light audio music video camera opencv vision detect track face ocr pdf excel csv xml yaml toml env game engine physics math stat solver optimize genetic quantum sim bio gene protein chem geo map gis weather astro'.split(
    ' ',
  );
const OWNER_SUFFIXES =
  'bkd zq xw mr jt ana lee kim sam dev max leo nox vik tur oss jan bo fu li wu hao ming raj dev ota'.split(
    ' ',
  );
/** Prefixes that thousands of packages share. */
const FAMILIES = [
  'odoo14-addon-',
  'odoo12-addon-l10n-es-',
  'types-aiobotocore-',
  'azure-mgmt-',
  'aws-cdk-aws-',
  'apache-airflow-providers-',
];

/**
 * Generates `count` packages that resemble PyPI's, by name: two thirds of the names have more than one word, a few
 * words occur in many names, and some families share long prefixes. Most packages have a description, and downloads
 * follow a power law.
 */
export function* searchRows(count: number): Generator<SearchRow> {
  const names = packageNames(count);
  const random = seededNumbers(11);
  for (const name of names) {
    const files = random() < 0.12 ? 0 : Math.floor(random() * 40);
    const words = 3 + Math.floor(random() * 10);
    const description =
      random() < 0.05 ? null : Array.from({ length: words }, () => randomWord(random)).join(' ');
    yield [name, description, files, files === 0 ? 0 : Math.floor(3 / random() ** 1.3)];
  }
}

/** Generates `size` names, evenly spread over all `count` names. */
export function* sampleNames(count: number, size: number): Generator<string> {
  const names = packageNames(count);
  for (let i = 0; i < size; i += 1) yield names[Math.floor(((i + 0.5) / size) * names.length)] ?? '';
}

let cachedNames: { readonly count: number; readonly names: readonly string[] } | undefined;

/** Returns `count` random names, sorted. Generates them once. */
export function packageNames(count: number): readonly string[] {
  if (cachedNames?.count === count) return cachedNames.names;
  const random = seededNumbers(5);
  const names = new Set<string>();
  while (names.size < count) names.add(randomName(random));
  cachedNames = { count, names: [...names].sort() };
  return cachedNames.names;
}

function randomName(random: () => number): string {
  const kind = random();
  if (kind < 0.02)
    return `${FAMILIES[Math.floor(random() * FAMILIES.length)] ?? ''}${randomWord(random)}-${randomWord(random)}${suffix(random)}`;
  const parts = Array.from({ length: kind < 0.35 ? 1 : kind < 0.75 ? 2 : 3 }, () => randomWord(random));
  // Many single-word names are two words joined, or a word with invented syllables.
  if (parts.length === 1)
    parts[0] = `${parts[0] ?? ''}${random() < 0.5 ? randomWord(random) : syllables(random)}`;
  return `${parts.join('-')}${suffix(random)}`;
}

function suffix(random: () => number): string {
  const kind = random();
  if (kind < 0.7) return '';
  if (kind < 0.8) return String(Math.floor(random() * 100));
  if (kind < 0.9)
    return `-${OWNER_SUFFIXES[Math.floor(random() * OWNER_SUFFIXES.length)] ?? ''}${syllables(random)}`;
  return syllables(random);
}

/** Returns the n-th word with a probability of about 1/n. */
const randomWord = (random: () => number): string =>
  WORDS[Math.min(WORDS.length - 1, Math.floor(WORDS.length ** random()) - 1)] ?? '';

function syllables(random: () => number): string {
  const pick = (letters: string): string => letters.charAt(Math.floor(random() * letters.length));
  return Array.from(
    { length: 1 + Math.floor(random() * 3) },
    () => pick('bcdfghklmnprstvxz') + pick('aeiou'),
  ).join('');
}

/** Returns a generator of pseudo-random numbers between 0 and 1: the same sequence for the same seed. */
export function seededNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
}
