import { existsSync, mkdtempSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { SearchRow } from '../../../src/model/project.js';
import { Site } from '../../../src/site/site.js';
import { paginate, sampleRows } from '../sample-site.js';
import { memoryFolder } from '../../helpers/memory-folder.js';

t.setTimeout(120_000);

interface SearchTreeNode {
  readonly p: string;
  readonly c?: string;
  readonly t?: readonly (readonly [string])[];
  readonly r: readonly (readonly [string])[];
}

function setUpSite(publicUrl: string | null = null) {
  const output = mkdtempSync(join(memoryFolder(), 'piw-search-'));
  const site = new Site({ outputPath: output, publicUrl });
  site.setUp();
  const files = (): string[] =>
    readdirSync(join(output, 'search'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.json'))
      .sort();
  /** Finds names in the files as the page's script does. */
  const find = (key: string): readonly string[] => {
    const read = (prefix: string): SearchTreeNode | undefined => {
      const path = join(output, 'search', prefix.length <= 2 ? prefix : `${prefix.slice(0, 2)}/${prefix}`);
      return existsSync(`${path}.json`)
        ? (JSON.parse(readFileSync(`${path}.json`, 'utf8')) as SearchTreeNode)
        : undefined;
    };
    let node = read(key.slice(0, 2));
    while (
      node &&
      key.length > node.p.length &&
      key.startsWith(node.p) &&
      node.c?.includes(key.charAt(node.p.length))
    )
      node = read(key.slice(0, node.p.length + 1));
    return (node?.t && node.p.startsWith(key) ? node.t : (node?.r ?? [])).map(([name]) => name);
  };
  return { output, site, files, find };
}

const row = (name: string, downloads: number): SearchRow => [name, null, 1, downloads];

void t.test(
  'a search finds every name by itself, and the most downloaded names by each of their words',
  async (t) => {
    const { site, find, files } = setUpSite();
    const rows = sampleRows(2000);
    await site.writeSearch(paginate(rows));
    t.ok(files().length > 25, `${files().length} files`);
    for (const [name] of rows) {
      const key = name.replaceAll('-', '');
      if (!find(key).includes(name)) t.fail(`${name} is not found`);
    }
    for (const word of ['rest', 're', 'd', 'parser', 'image', 'x']) {
      const wanted = rows
        .filter(([name]) => name.split('-').some((_, i, all) => all.slice(i).join('').startsWith(word)))
        .sort(([, , , a], [, , , b]) => b - a);
      // Downloads are rounded, so names with similar counts may be in another order.
      const [best] = wanted;
      t.ok(best && find(word).includes(best[0]), `${word} finds ${best?.[0] ?? ''}`);
    }
  },
);

void t.test(
  'a word that ends thousands of names finds the best of them, and the files stay small',
  async (t) => {
    const { site, find, files, output } = setUpSite();
    const rows = Array.from({ length: 6000 }, (_, i) => row(`p${i}-sdk`, i)).sort(([a], [b]) =>
      a < b ? -1 : 1,
    );
    await site.writeSearch(paginate(rows));
    t.match(find('sdk')[0], /^p5\d{3}-sdk$/);
    t.ok(find('p3777').includes('p3777-sdk'));
    for (const file of files()) {
      const { size } = statSync(join(output, 'search', file));
      if (size > 40_000) t.fail(`${file} has ${size} bytes`);
    }
  },
);

void t.test(
  'each trigram has a small file of the names that contain it, the most downloaded first',
  async (t) => {
    const { site, output } = setUpSite();
    const many = Array.from({ length: 1000 }, (_, i) => row(`safe${i}`, i));
    const rows = [...many, row('markup-safe', 5000), row('zope', 1)].sort(([a], [b]) => (a < b ? -1 : 1));
    await site.writeSearch(paginate(rows));
    const read = (gram: string) =>
      JSON.parse(readFileSync(join(output, `search/grams/${gram.slice(0, 2)}/${gram}.json`), 'utf8')) as {
        all: boolean;
        r: string[];
      };
    t.same(read('ups'), { all: true, r: ['markup-safe 5000 1'] }, 'across a hyphen');
    t.same(read('ope'), { all: true, r: ['zope 1 1'] });
    const { all, r } = read('saf');
    t.notOk(all, 'the least downloaded are left out');
    t.equal(r.length, 200);
    t.equal(r[0], 'markup-safe 5000 1');
    t.ok(statSync(join(output, 'search/grams/sa/saf.json')).size < 6000);
  },
);

void t.test(
  'writing again touches only files that changed, and removes those no longer needed',
  async (t) => {
    const { site, files, find, output } = setUpSite();
    const rows = sampleRows(2000);
    await site.writeSearch(paginate(rows));
    const times = new Map(files().map((file) => [file, statSync(join(output, 'search', file)).ino]));
    await site.writeSearch(paginate(rows.filter(([name]) => name !== 'numpy')));
    const changed = files().filter((file) => times.get(file) !== statSync(join(output, 'search', file)).ino);
    // Files of the tree, and of the trigrams of numpy.
    t.ok(changed.length <= 4 + 3, changed.join(' '));
    t.notOk(find('numpy').includes('numpy'));
    await site.writeSearch(paginate([row('only', 0)]));
    t.same(files(), ['grams/nl/nly.json', 'grams/on/onl.json', 'o.json', 'on.json']);
    t.same(readdirSync(join(output, 'search')).sort(), ['grams', 'names', 'o.json', 'on.json']);
    t.same(readdirSync(join(output, 'search/names')), ['on.html']);
  },
);

void t.test('while the search is rewritten, names that stay are found at every moment', async (t) => {
  const { site, find } = setUpSite();
  const many = sampleRows(2000);
  const stays = many.filter((_, i) => i % 10 === 0);
  await site.writeSearch(paginate(many));
  const state = { writing: true };
  const rewriting = (async () => {
    for (let round = 0; round < 3; round += 1)
      await site.writeSearch(paginate(round % 2 === 0 ? stays : many));
    state.writing = false;
  })();
  let searches = 0;
  while (state.writing) {
    const [name] = stays[searches % stays.length] ?? [''];
    if (!find(name.replaceAll('-', '')).includes(name)) t.fail(`${name} was not found`);
    searches += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await rewriting;
  t.ok(searches > 10, `${searches} searches during the rewriting`);
});

void t.test(
  'the sitemap lists every project, 50,000 URLs a part, and is not written without a public URL',
  async (t) => {
    const { site, output } = setUpSite('https://farm.example');
    const rows = Array.from({ length: 100_100 }, (_, i) => row(`p${i}`, 0));
    await site.writeSitemap(paginate(rows));
    t.same(readdirSync(join(output, 'sitemaps')).sort(), ['0001.xml', '0002.xml', '0003.xml']);
    t.equal(readFileSync(join(output, 'sitemaps/0001.xml'), 'utf8').split('<loc>').length - 1, 50_000);
    t.match(readFileSync(join(output, 'sitemap.xml'), 'utf8'), 'https://farm.example/sitemaps/0003.xml');
    t.match(readFileSync(join(output, 'robots.txt'), 'utf8'), 'Sitemap: https://farm.example/sitemap.xml');
    await site.writeSitemap(paginate(rows.slice(0, 10)));
    t.same(readdirSync(join(output, 'sitemaps')), ['0001.xml']);
    const unknown = setUpSite();
    await unknown.site.writeSitemap(paginate(rows));
    t.notOk(existsSync(join(unknown.output, 'sitemap.xml')));
  },
);
