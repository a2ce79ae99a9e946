import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { SIBLINGS } from '../../src/site/layout.js';
import { sha256 } from '../helpers/wheel.js';
import type { RuleId } from '../../src/site/check/rules.js';
import { edit, editForms, publish, type Page } from '../helpers/output-path.js';

export interface Planted {
  /** What is wrong, as the end of "finds …". */
  readonly what: string;
  /** The rules that find it, all of them. */
  readonly rules: readonly RuleId[];
  readonly plant: (output: string) => void | Promise<void>;
}

const DEMO = 'simple/demo';
const WHEEL = 'demo-1.0-py3-none-any.whl';
const LAST = 'demo-1.10-2-cp312-cp312-linux_x86_64.whl';
const OTHER = 'ab'.repeat(32);

const planted = (what: string, rules: RuleId | readonly RuleId[], plant: Planted['plant']): Planted => ({
  what,
  rules: typeof rules === 'string' ? [rules] : rules,
  plant,
});

const file = (page: Page, filename = WHEEL): Record<string, unknown> => {
  const found = page.files.find((one) => one['filename'] === filename);
  if (!found) throw new Error(`no ${filename}`);
  return found;
};

/** Changes the JSON alone. */
const json =
  (change: (page: Page) => void, folder = DEMO) =>
  (output: string) => {
    rmSync(join(output, folder, 'index.v1_json.gz'), { force: true });
    editForms(output, folder, undefined, change);
  };

/** Changes one form of HTML alone, or both. */
const html =
  (change: (text: string) => string, folder = DEMO, forms: readonly string[] = SIBLINGS.slice(0, 2)) =>
  (output: string) => {
    for (const form of forms) {
      rmSync(join(output, folder, `${form}.gz`), { force: true });
      edit(output, `${folder}/${form}`, change);
    }
  };

/** Changes all forms. */
const all =
  (asHtml: (text: string) => string, asJson: (page: Page) => void, folder = DEMO) =>
  (output: string) => {
    html(asHtml, folder)(output);
    json(asJson, folder)(output);
  };

const replace = (from: string | RegExp, to: string) => (text: string) => text.replace(from, to);
const anchorOf = (filename: string) =>
  new RegExp(`<a [^>]*>${filename.replace(/[.+]/g, '\\$&')}</a>(<br>)?\\n?`);
/** Without a wheel in all forms. */
const unlist = (filename: string) =>
  all(replace(anchorOf(filename), ''), (page) => {
    page.files = page.files.filter((one) => one['filename'] !== filename);
  });
/** Both forms say another hash than they did. */
const rehash = (output: string, from: string, to: string): void => {
  for (const form of SIBLINGS) edit(output, `${DEMO}/${form}`, (text) => text.replaceAll(from, to));
  rmSync(join(output, DEMO, 'index.v1_json.gz'), { force: true });
};
const bytes = (output: string, path: string): Buffer => readFileSync(join(output, path));

/** A wheel with other bytes than it had, which index and metadata agree with. */
const replaceWheel = (change: (wheel: Buffer) => Buffer) => (output: string) => {
  const path = `${DEMO}/${WHEEL}`;
  const before = bytes(output, path);
  const after = change(before);
  writeFileSync(join(output, path), after);
  rehash(output, sha256(before), sha256(after));
  for (const page of ['project/demo/json/index.json', 'pypi/demo/json'])
    edit(output, page, (text) => text.replaceAll(sha256(before), sha256(after)));
};

export const PAGE_FAULTS: readonly Planted[] = [
  planted('a form of a page that is missing', 'sibling-missing', (output) => {
    rmSync(join(output, DEMO, 'index.v1_html'));
  }),
  planted('a form of the root that is missing', 'sibling-missing', (output) => {
    rmSync(join(output, 'simple/index.v1_html'));
  }),
  planted('a page that is no UTF-8', 'page-utf8', (output) => {
    appendFileSync(join(output, DEMO, 'index.html'), Buffer.from([0xff]));
  }),
  planted(
    'half a page of HTML',
    ['html-whole', 'siblings-files'],
    html((text) => text.slice(0, -200)),
  ),
  planted('HTML without a doctype', 'html-whole', html(replace('<!DOCTYPE html>\n', ''))),
  planted('another version in HTML', 'html-version', html(replace('content="1.4"', 'content="1.0"'))),
  planted('an anchor with another text', 'html-anchor', html(replace(`>${WHEEL}<`, '>the wheel<'))),
  planted('an anchor without a hash', ['html-hash', 'siblings-hash'], html(replace(/#sha256=[0-9a-f]+/, ''))),
  planted(
    'an anchor with another kind of hash',
    ['html-hash', 'siblings-hash'],
    html(replace(/#sha256=[0-9a-f]+/, '#md5=00')),
  ),
  planted('a bare > in data-requires-python', 'html-escaped', html(replace('"&gt;=3.8"', '">=3.8"'))),
  planted(
    'no hash of the metadata in HTML',
    ['html-core-metadata', 'siblings-metadata'],
    html(replace(/ data-core-metadata="[^"]*"/, '')),
  ),
  planted(
    'metadata under its old name alone',
    ['html-core-metadata', 'html-dist-info-metadata', 'siblings-metadata'],
    html(replace('data-core-metadata', 'data-dist-info-metadata')),
  ),
  planted(
    'metadata under both names',
    'html-dist-info-metadata',
    html(replace(/data-core-metadata=("[^"]*")/, 'data-core-metadata=$1 data-dist-info-metadata=$1')),
  ),
  planted(
    'a hash of the metadata that does not say its kind',
    'html-core-metadata',
    html(replace('data-core-metadata="sha256=', 'data-core-metadata="')),
  ),
  planted(
    'something of a rejected PEP in HTML',
    'html-key',
    html(replace('</head>', '<meta name="pypi:alternate-locations" content="https://elsewhere.example/">$&')),
  ),
  planted('an attribute that no specification has', 'html-key', html(replace('<a ', '<a data-size="12" '))),
  planted(
    'a base, from which addresses lead elsewhere',
    'html-base',
    html(replace('</head>', '<base href="/elsewhere/"></head>')),
  ),
  planted('JSON behind a byte order mark', 'json-parse', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'));
    edit(output, `${DEMO}/index.v1_json`, (text) => `\uFEFF${text}`);
  }),
  planted(
    'a gpg-sig that is neither true nor false',
    'json-shape',
    json((page) => {
      file(page)['gpg-sig'] = 'yes';
    }),
  ),
  planted(
    'a script in a page of the index',
    'inline-code',
    html(replace('</body>', '<script>alert(1)</script></body>')),
  ),
  planted('JSON that is cut off', 'json-parse', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'));
    edit(output, `${DEMO}/index.v1_json`, (text) => text.slice(0, -1));
  }),
  planted('a key that stands twice', 'json-twice', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'), { force: true });
    edit(output, `${DEMO}/index.v1_json`, replace('"size":', '"size":1,"size":'));
  }),
  planted(
    'files that are no list',
    ['json-shape', 'siblings-files', 'project-empty', 'file-unlisted', 'pypi-json'],
    json((page) => {
      Object.assign(page, { files: {} });
    }),
  ),
  planted(
    'another version in JSON',
    'json-version',
    json((page) => {
      page.meta['api-version'] = '1.0';
    }),
  ),
  planted(
    'a name that is not normalised',
    'json-name',
    json((page) => {
      page['name'] = 'Zope.Interface';
    }, 'simple/zope-interface'),
  ),
  planted(
    'a hash in capitals',
    ['json-hash', 'siblings-hash'],
    json((page) => {
      file(page)['hashes'] = { sha256: 'AB'.repeat(32) };
    }),
  ),
  planted(
    'a file without a size',
    'json-size',
    json((page) => {
      delete file(page)['size'];
    }),
  ),
  planted(
    'a size that is text',
    'json-size',
    json((page) => {
      file(page)['size'] = '12';
    }),
  ),
  planted(
    'a file without an upload-time',
    'json-upload-time',
    json((page) => {
      delete file(page)['upload-time'];
    }),
  ),
  planted(
    'an upload-time in milliseconds',
    'json-upload-time',
    json((page) => {
      file(page)['upload-time'] = '2026-01-02T03:04:05.678Z';
    }),
  ),
  planted(
    'an upload-time that never was',
    'json-upload-time',
    json((page) => {
      file(page)['upload-time'] = '2026-02-30T03:04:05.000000Z';
    }),
  ),
  planted(
    'an upload-time to come',
    'json-upload-time',
    json((page) => {
      file(page)['upload-time'] = '2226-01-02T03:04:05.000000Z';
    }),
  ),
  planted(
    'an empty reason for a yank',
    'json-yanked',
    json((page) => {
      file(page, 'demo-1.2-py3-none-any.whl')['yanked'] = '';
    }),
  ),
  planted(
    'a yank that is null',
    ['json-yanked'],
    json((page) => {
      file(page)['yanked'] = null;
    }),
  ),
  planted(
    'core-metadata that is just true',
    ['json-core-metadata', 'siblings-metadata'],
    json((page) => {
      file(page)['core-metadata'] = true;
    }),
  ),
  planted(
    'dist-info-metadata in JSON',
    'json-dist-info-metadata',
    json((page) => {
      file(page)['dist-info-metadata'] = { sha256: OTHER };
    }),
  ),
  planted(
    'a key of a rejected PEP',
    'json-key',
    json((page) => {
      page['alternate-locations'] = [];
    }),
  ),
  planted(
    'a key of a PEP that is not done here',
    'json-key',
    json((page) => {
      page['namespace'] = null;
    }),
  ),
  planted(
    'a private key without its _',
    'json-key',
    json((page) => {
      file(page)['downloads'] = 3;
    }),
  ),
  planted(
    'a status that there is not',
    'status-known',
    all(
      replace('content="archived"', 'content="dormant"'),
      (page) => {
        page['project-status'] = { status: 'dormant' };
      },
      'simple/old-one',
    ),
  ),
  planted(
    'a quarantined project with files',
    'quarantined-files',
    all(
      replace('content="archived"', 'content="quarantined"'),
      (page) => {
        page['project-status'] = { status: 'quarantined' };
      },
      'simple/old-one',
    ),
  ),
  planted(
    'a filename that no wheel has',
    ['filename-wheel', 'file-unlisted', 'project-json', 'pypi-json'],
    all(
      (text) => text.replaceAll(WHEEL, 'demo-1.0.whl'),
      (page) => {
        Object.assign(file(page), { filename: 'demo-1.0.whl', url: 'demo-1.0.whl' });
      },
    ),
  ),
  planted(
    'a file of another project',
    ['filename-project', 'wheel-broken', 'project-json', 'pypi-json'],
    async (output) => {
      const other = 'other-1.0-py3-none-any.whl';
      for (const ending of ['', '.metadata'])
        renameSync(join(output, DEMO, WHEEL + ending), join(output, DEMO, other + ending));
      all(
        (text) => text.replaceAll(WHEEL, other),
        (page) => {
          Object.assign(file(page), { filename: other, url: other });
        },
      )(output);
      edit(output, 'project/demo/index.html', (text) => text.replaceAll(WHEEL, other));
      await Promise.resolve();
    },
  ),
  planted(
    'a file that is listed twice',
    'filename-twice',
    all(
      (text) => text.replace(anchorOf(WHEEL), (anchor) => anchor + anchor),
      (page) => {
        page.files.splice(1, 0, file(page));
      },
    ),
  ),
  planted(
    'a file that stands elsewhere',
    'file-url',
    json((page) => {
      file(page)['url'] = `https://elsewhere.example/${WHEEL}`;
    }),
  ),
  planted(
    'a version that versions lacks',
    'versions-complete',
    json((page) => {
      page.versions = page.versions.filter((one) => one !== '1.10');
    }),
  ),
  planted(
    'a version that is named twice',
    'versions-unique',
    json((page) => {
      page.versions.push('1.10');
    }),
  ),
  planted(
    'versions in the order of text',
    'versions-order',
    json((page) => {
      page.versions.sort();
    }),
  ),
  planted(
    'files in the order of text',
    'files-order',
    all(
      (text) => {
        const anchor = anchorOf(LAST).exec(text)?.[0] ?? '';
        return text.replace(anchor, '').replace('<a ', `${anchor}<a `);
      },
      (page) => {
        page.files.unshift(...page.files.splice(-1));
      },
    ),
  ),
  planted(
    'a requires-python that is none',
    ['requires-python-valid', 'wheel-requires-python'],
    all(replace('"&gt;=3.8"', '"three"'), (page) => {
      file(page, 'demo-1.0rc1-py3-none-any.whl')['requires-python'] = 'three';
    }),
  ),
  planted(
    'a requires-python that the wheel has not',
    'wheel-requires-python',
    all(replace('"&gt;=3.8"', '"&gt;=3.9"'), (page) => {
      file(page, 'demo-1.0rc1-py3-none-any.whl')['requires-python'] = '>=3.9';
    }),
  ),
  planted(
    'a serial of a page that its root has not',
    'serial-number',
    json((page) => {
      if ('_last-serial' in page.meta) delete page.meta['_last-serial'];
      else page.meta['_last-serial'] = 1;
    }),
  ),
  planted(
    'a serial that is text',
    'serial-number',
    json((page) => {
      page.meta['_last-serial'] = '7';
    }),
  ),
  planted('a page that is behind the root', ['serial-behind', 'pypi-json'], (output) => {
    serials(output, { root: 9, demo: 8 });
    json((page) => {
      page.meta['_last-serial'] = 7;
    })(output);
  }),
  planted('a root that is behind a project', ['root-serial', 'pypi-json'], (output) => {
    serials(output, { root: 9, demo: 8 });
    json((page) => {
      page.meta['_last-serial'] = 7;
    }, 'simple')(output);
  }),
];

/** All pages with serials. */
function serials(output: string, { root, demo }: { root: number; demo: number }): void {
  json((page) => {
    page.meta['_last-serial'] = root;
    for (const project of page.projects) project['_last-serial'] = demo;
  }, 'simple')(output);
  for (const name of ['demo', 'old-one', 'zope-interface'])
    json((page) => {
      page.meta['_last-serial'] = demo;
    }, `simple/${name}`)(output);
}

export const SIBLING_FAULTS: readonly Planted[] = [
  planted(
    'a form that lacks a file',
    'siblings-files',
    html(replace(anchorOf(WHEEL), ''), DEMO, ['index.v1_html']),
  ),
  planted(
    'a form with another hash',
    'siblings-hash',
    html(replace(/#sha256=[0-9a-f]+/, `#sha256=${OTHER}`), DEMO, ['index.html']),
  ),
  planted('a form without a yank', 'siblings-yanked', html(replace(/ data-yanked="[^"]*"/, ''))),
  planted(
    'a form with another reason for a yank',
    'siblings-yanked',
    html(replace(/ data-yanked="[^"]*"/, ' data-yanked="why"')),
  ),
  planted(
    'a form with another requires-python',
    'siblings-requires-python',
    html(replace('"&gt;=3.8"', '"&gt;=3.7"')),
  ),
  planted(
    'a form with another hash of metadata',
    'siblings-metadata',
    html((text) => text.replace(/((?:core|dist-info)-metadata="sha256=)[0-9a-f]+/g, `$1${OTHER}`)),
  ),
  planted(
    'a form with another status',
    'siblings-status',
    html(replace('content="archived"', 'content="deprecated"'), 'simple/old-one'),
  ),
  planted(
    'a root whose HTML lacks a project',
    'root-names',
    html(replace('<a href="old-one/">old-one</a><br>\n', ''), 'simple'),
  ),
  planted(
    'a root with a name that is not normalised',
    ['root-normalised', 'root-dangling', 'root-order', 'root-names', 'root-unlisted'],
    json((page) => {
      for (const project of page.projects) if (project['name'] === 'old-one') project['name'] = 'Old_One';
    }, 'simple'),
  ),
  planted(
    'a root that is out of order',
    'root-order',
    all(
      (text) => text.replace(/(<a .*\n)(<a .*\n)/, '$2$1'),
      (page) => {
        page.projects.reverse();
      },
      'simple',
    ),
  ),
  planted(
    'a root that leads elsewhere',
    'root-anchor',
    html(replace('href="old-one/"', 'href="old-two/"'), 'simple'),
  ),
  planted(
    'a root that names a project without a page',
    'root-dangling',
    all(
      replace('<a href="old-one/"', '<a href="nowhere/">nowhere</a><br>\n<a href="old-one/"'),
      (page) => {
        page.projects.splice(1, 0, { ...page.projects[0], name: 'nowhere' });
      },
      'simple',
    ),
  ),
  planted(
    'a project that the root does not name',
    'root-unlisted',
    all(
      replace('<a href="old-one/">old-one</a><br>\n', ''),
      (page) => {
        page.projects = page.projects.filter(({ name }) => name !== 'old-one');
      },
      'simple',
    ),
  ),
  planted(
    'a project that offers nothing',
    ['project-empty', 'file-unlisted', 'pypi-json'],
    all(
      replace(/<a [^>]*>.*\n/g, ''),
      (page) => {
        page.files = [];
      },
      'simple/old-one',
    ),
  ),
  planted(
    'a folder with a name that is not normalised',
    ['folder-normalised', 'temporary-left'],
    (output) => {
      mkdirSync(join(output, 'simple/Big_One'));
      writeFileSync(join(output, 'simple/Big_One/.keep'), '');
    },
  ),
];

export const FILE_FAULTS: readonly Planted[] = [
  planted('a wheel that is gone', ['file-missing', 'link-broken'], (output) => {
    rmSync(join(output, DEMO, WHEEL));
  }),
  planted('a wheel that is longer than listed', 'file-size', (output) => {
    appendFileSync(join(output, DEMO, WHEEL), 'x');
  }),
  planted('a wheel with another bit', 'file-hash', (output) => {
    const wheel = bytes(output, `${DEMO}/${WHEEL}`);
    wheel.writeUInt8(wheel.readUInt8(40) ^ 1, 40);
    writeFileSync(join(output, DEMO, WHEEL), wheel);
  }),
  planted(
    'a wheel that does not open',
    'wheel-broken',
    replaceWheel((wheel) => Buffer.alloc(wheel.length, 1)),
  ),
  planted('metadata that is gone', 'metadata-missing', (output) => {
    rmSync(join(output, DEMO, `${WHEEL}.metadata`));
  }),
  planted('metadata with another hash', ['metadata-hash', 'metadata-bytes'], (output) => {
    appendFileSync(join(output, DEMO, `${WHEEL}.metadata`), 'x');
  }),
  planted('metadata that is not the wheel’s', 'metadata-bytes', (output) => {
    const path = `${DEMO}/demo-1.0+local.2-py3-none-any.whl.metadata`;
    const before = bytes(output, path);
    const after = Buffer.concat([before, Buffer.from('More.\n')]);
    writeFileSync(join(output, path), after);
    rehash(output, sha256(before), sha256(after));
  }),
  planted('a wheel that no page lists', ['file-unlisted'], async (output) => {
    await publish(join(output, DEMO), { name: 'demo', version: '9.0' });
  }),
  planted('metadata that no page lists', 'file-unlisted', (output) => {
    writeFileSync(join(output, DEMO, 'demo-9.0-py3-none-any.whl.metadata'), 'x');
  }),
  planted(
    'a wheel that its page has forgotten',
    ['file-unlisted', 'project-json', 'pypi-json'],
    unlist(LAST),
  ),
  planted('a temporary file beside a wheel', 'temporary-left', (output) => {
    writeFileSync(join(output, DEMO, '.tmp-0123456789abcdef'), 'x');
  }),
  planted('a temporary file in a folder of pages', 'temporary-left', (output) => {
    writeFileSync(join(output, 'project/demo/json/.tmp-0123456789abcdef'), 'x');
  }),
  planted('a file that is nobody’s', 'stray-file', (output) => {
    writeFileSync(join(output, DEMO, 'notes.txt'), 'x');
  }),
  planted('a wheel that the web server may not read', 'readable', (output) => {
    chmodSync(join(output, DEMO, WHEEL), 0o600);
  }),
  planted('a folder that the web server may not enter', 'readable', (output) => {
    chmodSync(join(output, DEMO), 0o700);
  }),
  planted('a compressed page of an older state', 'gzip-stale', (output) => {
    const path = join(output, 'simple/old-one/index.html');
    writeFileSync(`${path}.gz`, gzipSync('an older page'));
  }),
  planted('a compressed root of an older state', 'gzip-stale', (output) => {
    writeFileSync(join(output, 'simple/index.html.gz'), gzipSync('an older page'));
  }),
  planted('a compressed page that does not unpack', 'gzip-broken', (output) => {
    const path = join(output, DEMO, 'index.v1_json.gz');
    writeFileSync(path, readFileSync(path).subarray(0, -20));
  }),
  planted('a compressed page without its page', ['gzip-orphan', 'sibling-missing'], (output) => {
    rmSync(join(output, DEMO, 'index.v1_json'));
  }),
  planted('a compressed page of another time', 'gzip-time', (output) => {
    utimesSync(join(output, 'index.html.gz'), 1e9, 1e9);
  }),
];

const HOME = 'index.html';
const PEOPLE = 'project/demo/index.html';

const page = (path: string, from: string | RegExp, to: string) => (output: string) => {
  rmSync(join(output, `${path}.gz`), { force: true });
  edit(output, path, replace(from, to));
};

export const SITE_FAULTS: readonly Planted[] = [
  planted(
    'a project without a page for people',
    ['project-page', 'link-broken', 'sitemap-link'],
    (output) => {
      rmSync(join(output, 'project/old-one/index.html'));
    },
  ),
  planted('a project without its page in PyPI’s JSON', 'pypi-json', (output) => {
    rmSync(join(output, 'pypi/demo/json'));
  }),
  planted('a page in PyPI’s JSON with another hash', 'pypi-json', (output) => {
    const [hash = ''] = /[0-9a-f]{64}/.exec(readFileSync(join(output, 'pypi/demo/json'), 'utf8')) ?? [];
    edit(output, 'pypi/demo/json', (text) => text.replaceAll(hash, OTHER));
  }),
  planted('a page in PyPI’s JSON of an older state', 'pypi-json', (output) => {
    edit(output, 'pypi/demo/json', replace(/"last_serial":\d+/, '"last_serial":1'));
  }),
  planted('a page in PyPI’s JSON whose files mirrors can not place', 'pypi-json', (output) => {
    edit(output, 'pypi/demo/json', replace(/\/packages\/demo\//g, '/simple/demo/'));
  }),
  planted('a page in PyPI’s JSON of a project that is gone', 'pypi-orphan', (output) => {
    mkdirSync(join(output, 'pypi/gone'));
    writeFileSync(join(output, 'pypi/gone/json'), '{}');
  }),
  planted('a project without its JSON', ['project-json', 'link-broken'], (output) => {
    rmSync(join(output, 'project/old-one/json'), { recursive: true });
  }),
  planted('a project’s JSON that is cut off', 'json-parse', (output) => {
    edit(output, 'project/demo/json/index.json', (text) => text.slice(0, -3));
  }),
  planted('a project’s JSON with another hash', 'project-json', (output) => {
    edit(output, 'project/demo/json/index.json', replace(/"sha256":"[0-9a-f]+"/, `"sha256":"${OTHER}"`));
  }),
  planted('a site without its page for what is not there', 'site-page', (output) => {
    rmSync(join(output, '404.html'));
  }),
  planted('a site without a sitemap', 'site-extra', (output) => {
    rmSync(join(output, 'sitemap.xml'));
  }),
  planted(
    'a link that leads nowhere',
    'link-broken',
    page(PEOPLE, '</body>', '<a href="../nobody/">nobody</a></body>'),
  ),
  planted(
    'an asset that is not there',
    'link-broken',
    page(HOME, '</head>', '<link rel="icon" href="static/none.svg"></head>'),
  ),
  planted(
    'a link to a part that its page has not',
    'link-fragment',
    page(HOME, 'href="#content"', 'href="#middle"'),
  ),
  planted('a page that names a log that is gone', 'log-missing', (output) => {
    rmSync(join(output, 'logs/0001/000001.txt.gz'));
  }),
  planted('a log that is stored as it is', 'log-plain', (output) => {
    writeFileSync(join(output, 'logs/0001/000009.txt'), 'a log');
  }),
  planted('a log that does not unpack', 'gzip-broken', (output) => {
    const path = join(output, 'logs/0001/000001.txt.gz');
    writeFileSync(path, readFileSync(path).subarray(0, -4));
  }),
  planted(
    'a script from another host',
    'foreign-host',
    page(HOME, '</head>', '<script src="https://cdn.example/x.js"></script></head>'),
  ),
  planted(
    'a picture from another host',
    'foreign-host',
    page(PEOPLE, '</body>', '<img src="//cdn.example/x.png" alt=""></body>'),
  ),
  planted(
    'a page without a policy',
    'csp-missing',
    page(HOME, 'http-equiv="Content-Security-Policy"', 'name="nothing"'),
  ),
  planted(
    'a policy that allows inline scripts',
    'csp-weak',
    page(HOME, "style-src 'self'", "style-src 'self' 'unsafe-inline'"),
  ),
  planted('a style of its own', 'inline-code', page(HOME, '<body', '<body style="color: red"')),
  planted('a handler of its own', 'inline-code', page(PEOPLE, '<body', '<body onload="go()"')),
  planted(
    'a link that runs a script',
    'inline-code',
    page(PEOPLE, '</body>', '<a href="javascript:go()">go</a></body>'),
  ),
  planted('a page without a language', 'page-lang', page(HOME, '<html lang="en"', '<html')),
  planted('an id that stands twice', 'page-ids', page(HOME, '</body>', '<p id="content"></p></body>')),
  planted('a page that is cut off', ['html-whole'], page(HOME, /<\/html>\s*$/, '')),
  planted('statistics that are no JSON', 'statistics-json', (output) => {
    edit(output, 'statistics.json', (text) => `${text}}`);
  }),
  planted('data of the search that are cut off', 'data-json', (output) => {
    mkdirSync(join(output, 'search'), { recursive: true });
    writeFileSync(join(output, 'search/zz.json'), '[["six",');
  }),
  planted('a sitemap that is cut off', 'sitemap-xml', page('sitemaps/0001.xml', '</urlset>', '')),
  planted(
    'a sitemap of another host',
    'sitemap-address',
    page('sitemaps/0001.xml', 'https://farm.example/faq', 'https://other.example/faq'),
  ),
  planted(
    'a sitemap that names what is not there',
    'sitemap-link',
    page('sitemaps/0001.xml', 'faq.html', 'fax.html'),
  ),
  planted('a sitemap that is not there', 'sitemap-link', (output) => {
    rmSync(join(output, 'sitemaps/0001.xml'));
  }),
  planted(
    'robots that keep everybody out',
    'robots',
    page('robots.txt', 'User-agent: *', 'User-agent: *\nDisallow: /'),
  ),
  planted('robots that do not name the sitemap', 'robots', page('robots.txt', /Sitemap: .*/, '')),
];
