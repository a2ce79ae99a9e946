/**
 * The documentation: README.md and docs/*.md. A link that leads nowhere, a function that was renamed, a command or a
 * configuration key that no chapter mentions: each is a failure here, and not a reader's disappointment.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { commands } from '../src/commands/index.js';
import { SETTING_DEFINITIONS } from '../src/config.js';
import { parseConfig } from '../src/settings/config-file.js';
import { EXIT_CODE_MEANINGS } from '../src/errors.js';
import { testDatabase } from './helpers/database.js';
import { GENERATED_FOLDERS, generatedFiles } from './docs/generated.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CHAPTERS = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
const GENERATED_PAGES = GENERATED_FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`),
);
const PAGES = ['README.md', ...CHAPTERS.map((name) => `docs/${name}`), ...GENERATED_PAGES];

interface Link {
  readonly text: string;
  /** The path of the file that it leads to, relative to the root of the repository. */
  readonly file: string;
  readonly fragment: string;
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Returns a page without its fenced code blocks, which hold neither links nor headings. */
const proseOf = (markdown: string): string => markdown.replace(/^( *)```[^]*?^\1```$/gm, '');

/** Returns the links of a page that lead to a file of this repository. */
function relativeLinks(page: string): readonly Link[] {
  const links = proseOf(read(page)).matchAll(/\[((?:[^\]`]|`[^`]*`)*)\]\(([^)\s]+)\)/g);
  return [...links].flatMap(([, text = '', target = '']) => {
    if (/^[a-z][a-z\d+.-]*:/i.test(target)) return [];
    const [path = '', fragment = ''] = target.split('#', 2).map(decodeURIComponent);
    return [{ text, file: path === '' ? page : join(dirname(page), path), fragment }];
  });
}

/** Returns the anchors that GitHub gives to the headings of a page. */
function anchorsOf(markdown: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of proseOf(markdown).matchAll(/^#{1,6} +(.+?) *$/gm)) {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = text.replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '').replaceAll(' ', '-');
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count += 1) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

const anchorsByFile = new Map<string, ReadonlySet<string>>();

/** Returns what is wrong with where a link leads to; undefined if nothing is. */
function linkFault({ file, fragment }: Link): string | undefined {
  if (file.startsWith('..')) return `${file} is outside the repository`;
  if (!existsSync(join(ROOT, file))) return `${file} does not exist`;
  if (fragment === '') return undefined;
  if (!file.endsWith('.md')) return `${file}#${fragment}: only chapters have headings`;
  const anchors = anchorsByFile.get(file) ?? anchorsOf(read(file));
  anchorsByFile.set(file, anchors);
  return anchors.has(fragment) ? undefined : `${file} has no heading #${fragment}`;
}

/** Returns the names in a link's text, if that is code such as `Bus.connect()`; none if it is prose or a path. */
function namesIn({ text, file }: Link): readonly string[] {
  const [, code = ''] = /^`([^`]+)`$/.exec(text) ?? [];
  return code.includes('/') || code === basename(file) ? [] : (code.match(/#?[A-Za-z_$][\w$]*/g) ?? []);
}

const contains = (source: string, name: string): boolean =>
  new RegExp(`(?<![\\w$#])${name.replaceAll('$', '\\$')}(?![\\w$])`).test(source);

for (const page of PAGES) {
  t.test(`every relative link of ${page} leads to a file and a heading that exist`, (t) => {
    const links = relativeLinks(page);
    t.ok(links.length > 0, 'there are links');
    t.same(
      links.flatMap((link) => linkFault(link) ?? []),
      [],
    );
    t.end();
  });

  t.test(`the code that a link of ${page} names is in the file that it leads to`, (t) => {
    const missing = relativeLinks(page)
      .filter(({ file }) => /\.(?:ts|mjs|cjs)$/.test(file) && existsSync(join(ROOT, file)))
      .flatMap((link) => {
        const source = read(link.file);
        return namesIn(link)
          .filter((name) => !contains(source, name))
          .map((name) => `${name} is not in ${link.file}`);
      });
    t.same(missing, []);
    t.end();
  });
}

t.test('the index of chapters and the front page name every chapter', (t) => {
  const chapters = CHAPTERS.filter((name) => name !== 'README.md');
  for (const page of ['README.md', 'docs/README.md']) {
    const linked = new Set(relativeLinks(page).map(({ file }) => relative('docs', file)));
    t.same(
      chapters.filter((name) => !linked.has(name)),
      [],
      page,
    );
  }
  t.end();
});

t.test('the index of each generated folder names every page in it', (t) => {
  for (const folder of GENERATED_FOLDERS) {
    const index = `${folder}/README.md`;
    const linked = new Set(relativeLinks(index).map(({ file }) => file));
    t.same(
      GENERATED_PAGES.filter((page) => page.startsWith(`${folder}/`) && page !== index && !linked.has(page)),
      [],
    );
    t.ok(
      relativeLinks('docs/README.md').some(({ file }) => file === index),
      `docs/README.md names ${index}`,
    );
  }
  t.end();
});

t.test(
  'the generated pages and the sample configuration are as the code has it; npm run docs writes them',
  async (t) => {
    const { db } = await testDatabase(t);
    const files = await generatedFiles(db);
    for (const [path, contents] of Object.entries(files))
      t.equal(existsSync(join(ROOT, path)) && read(path), contents, path);
    t.same(
      GENERATED_PAGES.filter((path) => !(path in files)),
      [],
    );
    t.match(
      Object.entries(parseConfig(files['config/piwheels.conf']?.replace(/^#(?=[a-z])/gm, '') ?? '', 'sample'))
        .length,
      Object.keys(SETTING_DEFINITIONS).length,
    );
  },
);

t.test('the page of settings says of each setting when it came and who reads it', (t) => {
  const rows = [...read('docs/settings.md').matchAll(/^\| `.*$/gm)].map(([row]) =>
    row.split('|').map((field) => field.trim()),
  );
  t.same(
    rows.map(([, key = '']) => key.replaceAll('`', '')),
    Object.keys(SETTING_DEFINITIONS),
  );
  t.same(
    rows.filter(([, , , , since, readers]) => since === '' || readers === '').map(([, key]) => key),
    [],
  );
  t.end();
});

t.test('the chapter on commands names every command', (t) => {
  const chapter = read('docs/commands.md');
  const names = Object.keys(commands).map((name) => `piw ${name.replaceAll(':', ' ')}`);
  t.ok(names.length > 20);
  t.same(
    names.filter((name) => !chapter.includes(`\`${name}\``) && !chapter.includes(`\`${name} `)),
    [],
  );
  t.end();
});

t.test('the chapter on commands explains every exit code, as the program does', (t) => {
  const rows = [...read('docs/commands.md').matchAll(/^\| (\d+) +\| (.*?) +\|$/gm)];
  t.same(Object.fromEntries(rows.map(([, code, meaning]) => [code, meaning])), EXIT_CODE_MEANINGS);
  t.end();
});

t.test('the chapter on configuration has a row for every key, and for no other', (t) => {
  const rows = [...read('docs/configuration.md').matchAll(/^\| `([^`]+)` /gm)].map(([, key = '']) => key);
  t.same([...rows].sort(), Object.keys(SETTING_DEFINITIONS).sort());
  t.end();
});
