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
import { editPage, editAllForms, publish, type SimpleJsonPage } from '../helpers/output-path.js';

export interface PlantedFault {
  /** What is wrong, as the end of "finds …". */
  readonly description: string;
  /** The rules that find it, all of them. */
  readonly rules: readonly RuleId[];
  readonly plant: (output: string) => void | Promise<void>;
}

const DEMO = 'simple/demo';
const WHEEL = 'demo-1.0-py3-none-any.whl';
const LAST_WHEEL = 'demo-1.10-2-cp312-cp312-linux_x86_64.whl';
const OTHER_SHA256 = 'ab'.repeat(32);

const plantedFault = (
  what: string,
  rules: RuleId | readonly RuleId[],
  plant: PlantedFault['plant'],
): PlantedFault => ({
  description: what,
  rules: typeof rules === 'string' ? [rules] : rules,
  plant,
});

const fileIn = (page: SimpleJsonPage, filename = WHEEL): Record<string, unknown> => {
  const found = page.files.find((one) => one['filename'] === filename);
  if (!found) throw new Error(`no ${filename}`);
  return found;
};

/** Changes the JSON alone. */
const changeJson =
  (change: (page: SimpleJsonPage) => void, folder = DEMO) =>
  (output: string) => {
    rmSync(join(output, folder, 'index.v1_json.gz'), { force: true });
    editAllForms(output, folder, undefined, change);
  };

/** Changes one form of HTML alone, or both. */
const changeHtml =
  (change: (text: string) => string, folder = DEMO, forms: readonly string[] = SIBLINGS.slice(0, 2)) =>
  (output: string) => {
    for (const form of forms) {
      rmSync(join(output, folder, `${form}.gz`), { force: true });
      editPage(output, `${folder}/${form}`, change);
    }
  };

/** Changes all forms. */
const changeAllForms =
  (asHtml: (text: string) => string, asJson: (page: SimpleJsonPage) => void, folder = DEMO) =>
  (output: string) => {
    changeHtml(asHtml, folder)(output);
    changeJson(asJson, folder)(output);
  };

const replacing = (from: string | RegExp, to: string) => (text: string) => text.replace(from, to);
const anchorOf = (filename: string) =>
  new RegExp(`<a [^>]*>${filename.replace(/[.+]/g, '\\$&')}</a>(<br>)?\\n?`);
/** Without a wheel in all forms. */
const unlist = (filename: string) =>
  changeAllForms(replacing(anchorOf(filename), ''), (page) => {
    page.files = page.files.filter((one) => one['filename'] !== filename);
  });
/** Both forms say another hash than they did. */
const rehash = (output: string, from: string, to: string): void => {
  for (const form of SIBLINGS) editPage(output, `${DEMO}/${form}`, (text) => text.replaceAll(from, to));
  rmSync(join(output, DEMO, 'index.v1_json.gz'), { force: true });
};
const readBytes = (output: string, path: string): Buffer => readFileSync(join(output, path));

/** A wheel with other bytes than it had, which index and metadata agree with. */
const replaceWheel = (change: (wheel: Buffer) => Buffer) => (output: string) => {
  const path = `${DEMO}/${WHEEL}`;
  const before = readBytes(output, path);
  const after = change(before);
  writeFileSync(join(output, path), after);
  rehash(output, sha256(before), sha256(after));
  for (const page of ['project/demo/json/index.json', 'pypi/demo/json'])
    editPage(output, page, (text) => text.replaceAll(sha256(before), sha256(after)));
};

export const PAGE_FAULTS: readonly PlantedFault[] = [
  plantedFault('a form of a page that is missing', 'sibling-missing', (output) => {
    rmSync(join(output, DEMO, 'index.v1_html'));
  }),
  plantedFault('a form of the root that is missing', 'sibling-missing', (output) => {
    rmSync(join(output, 'simple/index.v1_html'));
  }),
  plantedFault('a page that is no UTF-8', 'page-utf8', (output) => {
    appendFileSync(join(output, DEMO, 'index.html'), Buffer.from([0xff]));
  }),
  plantedFault(
    'half a page of HTML',
    ['html-whole', 'siblings-files'],
    changeHtml((text) => text.slice(0, -200)),
  ),
  plantedFault('HTML without a doctype', 'html-whole', changeHtml(replacing('<!DOCTYPE html>\n', ''))),
  plantedFault(
    'another version in HTML',
    'html-version',
    changeHtml(replacing('content="1.4"', 'content="1.0"')),
  ),
  plantedFault(
    'an anchor with another text',
    'html-anchor',
    changeHtml(replacing(`>${WHEEL}<`, '>the wheel<')),
  ),
  plantedFault(
    'an anchor without a hash',
    ['html-hash', 'siblings-hash'],
    changeHtml(replacing(/#sha256=[0-9a-f]+/, '')),
  ),
  plantedFault(
    'an anchor with another kind of hash',
    ['html-hash', 'siblings-hash'],
    changeHtml(replacing(/#sha256=[0-9a-f]+/, '#md5=00')),
  ),
  plantedFault(
    'a bare > in data-requires-python',
    'html-escaped',
    changeHtml(replacing('"&gt;=3.8"', '">=3.8"')),
  ),
  plantedFault(
    'no hash of the metadata in HTML',
    ['html-core-metadata', 'siblings-metadata'],
    changeHtml(replacing(/ data-core-metadata="[^"]*"/, '')),
  ),
  plantedFault(
    'metadata under its old name alone',
    ['html-core-metadata', 'html-dist-info-metadata', 'siblings-metadata'],
    changeHtml(replacing('data-core-metadata', 'data-dist-info-metadata')),
  ),
  plantedFault(
    'metadata under both names',
    'html-dist-info-metadata',
    changeHtml(replacing(/data-core-metadata=("[^"]*")/, 'data-core-metadata=$1 data-dist-info-metadata=$1')),
  ),
  plantedFault(
    'a hash of the metadata that does not say its kind',
    'html-core-metadata',
    changeHtml(replacing('data-core-metadata="sha256=', 'data-core-metadata="')),
  ),
  plantedFault(
    'something of a rejected PEP in HTML',
    'html-key',
    changeHtml(
      replacing('</head>', '<meta name="pypi:alternate-locations" content="https://elsewhere.example/">$&'),
    ),
  ),
  plantedFault(
    'an attribute that no specification has',
    'html-key',
    changeHtml(replacing('<a ', '<a data-size="12" ')),
  ),
  plantedFault(
    'a base, from which addresses lead elsewhere',
    'html-base',
    changeHtml(replacing('</head>', '<base href="/elsewhere/"></head>')),
  ),
  plantedFault('JSON behind a byte order mark', 'json-parse', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'));
    editPage(output, `${DEMO}/index.v1_json`, (text) => `\uFEFF${text}`);
  }),
  plantedFault(
    'a gpg-sig that is neither true nor false',
    'json-shape',
    changeJson((page) => {
      fileIn(page)['gpg-sig'] = 'yes';
    }),
  ),
  plantedFault(
    'a script in a page of the index',
    'inline-code',
    changeHtml(replacing('</body>', '<script>alert(1)</script></body>')),
  ),
  plantedFault('JSON that is cut off', 'json-parse', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'));
    editPage(output, `${DEMO}/index.v1_json`, (text) => text.slice(0, -1));
  }),
  plantedFault('a key that stands twice', 'json-twice', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'), { force: true });
    editPage(output, `${DEMO}/index.v1_json`, replacing('"size":', '"size":1,"size":'));
  }),
  plantedFault(
    'files that are no list',
    ['json-shape', 'siblings-files', 'project-empty', 'file-unlisted', 'pypi-json'],
    changeJson((page) => {
      Object.assign(page, { files: {} });
    }),
  ),
  plantedFault(
    'another version in JSON',
    'json-version',
    changeJson((page) => {
      page.meta['api-version'] = '1.0';
    }),
  ),
  plantedFault(
    'a name that is not normalised',
    'json-name',
    changeJson((page) => {
      page['name'] = 'Zope.Interface';
    }, 'simple/zope-interface'),
  ),
  plantedFault(
    'a hash in capitals',
    ['json-hash', 'siblings-hash'],
    changeJson((page) => {
      fileIn(page)['hashes'] = { sha256: 'AB'.repeat(32) };
    }),
  ),
  plantedFault(
    'a file without a size',
    'json-size',
    changeJson((page) => {
      delete fileIn(page)['size'];
    }),
  ),
  plantedFault(
    'a size that is text',
    'json-size',
    changeJson((page) => {
      fileIn(page)['size'] = '12';
    }),
  ),
  plantedFault(
    'a file without an upload-time',
    'json-upload-time',
    changeJson((page) => {
      delete fileIn(page)['upload-time'];
    }),
  ),
  plantedFault(
    'an upload-time in milliseconds',
    'json-upload-time',
    changeJson((page) => {
      fileIn(page)['upload-time'] = '2026-01-02T03:04:05.678Z';
    }),
  ),
  plantedFault(
    'an upload-time that never was',
    'json-upload-time',
    changeJson((page) => {
      fileIn(page)['upload-time'] = '2026-02-30T03:04:05.000000Z';
    }),
  ),
  plantedFault(
    'an upload-time to come',
    'json-upload-time',
    changeJson((page) => {
      fileIn(page)['upload-time'] = '2226-01-02T03:04:05.000000Z';
    }),
  ),
  plantedFault(
    'an empty reason for a yank',
    'json-yanked',
    changeJson((page) => {
      fileIn(page, 'demo-1.2-py3-none-any.whl')['yanked'] = '';
    }),
  ),
  plantedFault(
    'a yank that is null',
    ['json-yanked'],
    changeJson((page) => {
      fileIn(page)['yanked'] = null;
    }),
  ),
  plantedFault(
    'core-metadata that is just true',
    ['json-core-metadata', 'siblings-metadata'],
    changeJson((page) => {
      fileIn(page)['core-metadata'] = true;
    }),
  ),
  plantedFault(
    'dist-info-metadata in JSON',
    'json-dist-info-metadata',
    changeJson((page) => {
      fileIn(page)['dist-info-metadata'] = { sha256: OTHER_SHA256 };
    }),
  ),
  plantedFault(
    'a key of a rejected PEP',
    'json-key',
    changeJson((page) => {
      page['alternate-locations'] = [];
    }),
  ),
  plantedFault(
    'a key of a PEP that is not done here',
    'json-key',
    changeJson((page) => {
      page['namespace'] = null;
    }),
  ),
  plantedFault(
    'a private key without its _',
    'json-key',
    changeJson((page) => {
      fileIn(page)['downloads'] = 3;
    }),
  ),
  plantedFault(
    'a status that there is not',
    'status-known',
    changeAllForms(
      replacing('content="archived"', 'content="dormant"'),
      (page) => {
        page['project-status'] = { status: 'dormant' };
      },
      'simple/old-one',
    ),
  ),
  plantedFault(
    'a quarantined project with files',
    'quarantined-files',
    changeAllForms(
      replacing('content="archived"', 'content="quarantined"'),
      (page) => {
        page['project-status'] = { status: 'quarantined' };
      },
      'simple/old-one',
    ),
  ),
  plantedFault(
    'a filename that no wheel has',
    ['filename-wheel', 'file-unlisted', 'project-json', 'pypi-json'],
    changeAllForms(
      (text) => text.replaceAll(WHEEL, 'demo-1.0.whl'),
      (page) => {
        Object.assign(fileIn(page), { filename: 'demo-1.0.whl', url: 'demo-1.0.whl' });
      },
    ),
  ),
  plantedFault(
    'a file of another project',
    ['filename-project', 'wheel-broken', 'project-json', 'pypi-json'],
    async (output) => {
      const other = 'other-1.0-py3-none-any.whl';
      for (const ending of ['', '.metadata'])
        renameSync(join(output, DEMO, WHEEL + ending), join(output, DEMO, other + ending));
      changeAllForms(
        (text) => text.replaceAll(WHEEL, other),
        (page) => {
          Object.assign(fileIn(page), { filename: other, url: other });
        },
      )(output);
      editPage(output, 'project/demo/index.html', (text) => text.replaceAll(WHEEL, other));
      await Promise.resolve();
    },
  ),
  plantedFault(
    'a file that is listed twice',
    'filename-twice',
    changeAllForms(
      (text) => text.replace(anchorOf(WHEEL), (anchor) => anchor + anchor),
      (page) => {
        page.files.splice(1, 0, fileIn(page));
      },
    ),
  ),
  plantedFault(
    'a file that stands elsewhere',
    'file-url',
    changeJson((page) => {
      fileIn(page)['url'] = `https://elsewhere.example/${WHEEL}`;
    }),
  ),
  plantedFault(
    'a version that versions lacks',
    'versions-complete',
    changeJson((page) => {
      page.versions = page.versions.filter((one) => one !== '1.10');
    }),
  ),
  plantedFault(
    'a version that is named twice',
    'versions-unique',
    changeJson((page) => {
      page.versions.push('1.10');
    }),
  ),
  plantedFault(
    'versions in the order of text',
    'versions-order',
    changeJson((page) => {
      page.versions.sort();
    }),
  ),
  plantedFault(
    'files in the order of text',
    'files-order',
    changeAllForms(
      (text) => {
        const anchor = anchorOf(LAST_WHEEL).exec(text)?.[0] ?? '';
        return text.replace(anchor, '').replace('<a ', `${anchor}<a `);
      },
      (page) => {
        page.files.unshift(...page.files.splice(-1));
      },
    ),
  ),
  plantedFault(
    'a requires-python that is none',
    ['requires-python-valid', 'wheel-requires-python'],
    changeAllForms(replacing('"&gt;=3.8"', '"three"'), (page) => {
      fileIn(page, 'demo-1.0rc1-py3-none-any.whl')['requires-python'] = 'three';
    }),
  ),
  plantedFault(
    'a requires-python that the wheel has not',
    'wheel-requires-python',
    changeAllForms(replacing('"&gt;=3.8"', '"&gt;=3.9"'), (page) => {
      fileIn(page, 'demo-1.0rc1-py3-none-any.whl')['requires-python'] = '>=3.9';
    }),
  ),
  plantedFault(
    'a serial of a page that its root has not',
    'serial-number',
    changeJson((page) => {
      if ('_last-serial' in page.meta) delete page.meta['_last-serial'];
      else page.meta['_last-serial'] = 1;
    }),
  ),
  plantedFault(
    'a serial that is text',
    'serial-number',
    changeJson((page) => {
      page.meta['_last-serial'] = '7';
    }),
  ),
  plantedFault('a page that is behind the root', ['serial-behind', 'pypi-json'], (output) => {
    setSerials(output, { root: 9, demo: 8 });
    changeJson((page) => {
      page.meta['_last-serial'] = 7;
    })(output);
  }),
  plantedFault('a root that is behind a project', ['root-serial', 'pypi-json'], (output) => {
    setSerials(output, { root: 9, demo: 8 });
    changeJson((page) => {
      page.meta['_last-serial'] = 7;
    }, 'simple')(output);
  }),
];

/** All pages with serials. */
function setSerials(output: string, { root, demo }: { root: number; demo: number }): void {
  changeJson((page) => {
    page.meta['_last-serial'] = root;
    for (const project of page.projects) project['_last-serial'] = demo;
  }, 'simple')(output);
  for (const name of ['demo', 'old-one', 'zope-interface'])
    changeJson((page) => {
      page.meta['_last-serial'] = demo;
    }, `simple/${name}`)(output);
}

export const SIBLING_FAULTS: readonly PlantedFault[] = [
  plantedFault(
    'a form that lacks a file',
    'siblings-files',
    changeHtml(replacing(anchorOf(WHEEL), ''), DEMO, ['index.v1_html']),
  ),
  plantedFault(
    'a form with another hash',
    'siblings-hash',
    changeHtml(replacing(/#sha256=[0-9a-f]+/, `#sha256=${OTHER_SHA256}`), DEMO, ['index.html']),
  ),
  plantedFault('a form without a yank', 'siblings-yanked', changeHtml(replacing(/ data-yanked="[^"]*"/, ''))),
  plantedFault(
    'a form with another reason for a yank',
    'siblings-yanked',
    changeHtml(replacing(/ data-yanked="[^"]*"/, ' data-yanked="why"')),
  ),
  plantedFault(
    'a form with another requires-python',
    'siblings-requires-python',
    changeHtml(replacing('"&gt;=3.8"', '"&gt;=3.7"')),
  ),
  plantedFault(
    'a form with another hash of metadata',
    'siblings-metadata',
    changeHtml((text) =>
      text.replace(/((?:core|dist-info)-metadata="sha256=)[0-9a-f]+/g, `$1${OTHER_SHA256}`),
    ),
  ),
  plantedFault(
    'a form with another status',
    'siblings-status',
    changeHtml(replacing('content="archived"', 'content="deprecated"'), 'simple/old-one'),
  ),
  plantedFault(
    'a root whose HTML lacks a project',
    'root-names',
    changeHtml(replacing('<a href="old-one/">old-one</a><br>\n', ''), 'simple'),
  ),
  plantedFault(
    'a root with a name that is not normalised',
    ['root-normalised', 'root-dangling', 'root-order', 'root-names', 'root-unlisted'],
    changeJson((page) => {
      for (const project of page.projects) if (project['name'] === 'old-one') project['name'] = 'Old_One';
    }, 'simple'),
  ),
  plantedFault(
    'a root that is out of order',
    'root-order',
    changeAllForms(
      (text) => text.replace(/(<a .*\n)(<a .*\n)/, '$2$1'),
      (page) => {
        page.projects.reverse();
      },
      'simple',
    ),
  ),
  plantedFault(
    'a root that leads elsewhere',
    'root-anchor',
    changeHtml(replacing('href="old-one/"', 'href="old-two/"'), 'simple'),
  ),
  plantedFault(
    'a root that names a project without a page',
    'root-dangling',
    changeAllForms(
      replacing('<a href="old-one/"', '<a href="nowhere/">nowhere</a><br>\n<a href="old-one/"'),
      (page) => {
        page.projects.splice(1, 0, { ...page.projects[0], name: 'nowhere' });
      },
      'simple',
    ),
  ),
  plantedFault(
    'a project that the root does not name',
    'root-unlisted',
    changeAllForms(
      replacing('<a href="old-one/">old-one</a><br>\n', ''),
      (page) => {
        page.projects = page.projects.filter(({ name }) => name !== 'old-one');
      },
      'simple',
    ),
  ),
  plantedFault(
    'a project that offers nothing',
    ['project-empty', 'file-unlisted', 'pypi-json'],
    changeAllForms(
      replacing(/<a [^>]*>.*\n/g, ''),
      (page) => {
        page.files = [];
      },
      'simple/old-one',
    ),
  ),
  plantedFault(
    'a folder with a name that is not normalised',
    ['folder-normalised', 'temporary-left'],
    (output) => {
      mkdirSync(join(output, 'simple/Big_One'));
      writeFileSync(join(output, 'simple/Big_One/.keep'), '');
    },
  ),
];

export const FILE_FAULTS: readonly PlantedFault[] = [
  plantedFault('a wheel that is gone', ['file-missing', 'link-broken'], (output) => {
    rmSync(join(output, DEMO, WHEEL));
  }),
  plantedFault('a wheel that is longer than listed', 'file-size', (output) => {
    appendFileSync(join(output, DEMO, WHEEL), 'x');
  }),
  plantedFault('a wheel with another bit', 'file-hash', (output) => {
    const wheel = readBytes(output, `${DEMO}/${WHEEL}`);
    wheel.writeUInt8(wheel.readUInt8(40) ^ 1, 40);
    writeFileSync(join(output, DEMO, WHEEL), wheel);
  }),
  plantedFault(
    'a wheel that does not open',
    'wheel-broken',
    replaceWheel((wheel) => Buffer.alloc(wheel.length, 1)),
  ),
  plantedFault('metadata that is gone', 'metadata-missing', (output) => {
    rmSync(join(output, DEMO, `${WHEEL}.metadata`));
  }),
  plantedFault('metadata with another hash', ['metadata-hash', 'metadata-bytes'], (output) => {
    appendFileSync(join(output, DEMO, `${WHEEL}.metadata`), 'x');
  }),
  plantedFault('metadata that is not the wheel’s', 'metadata-bytes', (output) => {
    const path = `${DEMO}/demo-1.0+local.2-py3-none-any.whl.metadata`;
    const before = readBytes(output, path);
    const after = Buffer.concat([before, Buffer.from('More.\n')]);
    writeFileSync(join(output, path), after);
    rehash(output, sha256(before), sha256(after));
  }),
  plantedFault('a wheel that no page lists', ['file-unlisted'], async (output) => {
    await publish(join(output, DEMO), { name: 'demo', version: '9.0' });
  }),
  plantedFault('metadata that no page lists', 'file-unlisted', (output) => {
    writeFileSync(join(output, DEMO, 'demo-9.0-py3-none-any.whl.metadata'), 'x');
  }),
  plantedFault(
    'a wheel that its page has forgotten',
    ['file-unlisted', 'project-json', 'pypi-json'],
    unlist(LAST_WHEEL),
  ),
  plantedFault('a temporary file beside a wheel', 'temporary-left', (output) => {
    writeFileSync(join(output, DEMO, '.tmp-0123456789abcdef'), 'x');
  }),
  plantedFault('a temporary file in a folder of pages', 'temporary-left', (output) => {
    writeFileSync(join(output, 'project/demo/json/.tmp-0123456789abcdef'), 'x');
  }),
  plantedFault('a file that is nobody’s', 'stray-file', (output) => {
    writeFileSync(join(output, DEMO, 'notes.txt'), 'x');
  }),
  plantedFault('a wheel that the web server may not read', 'readable', (output) => {
    chmodSync(join(output, DEMO, WHEEL), 0o600);
  }),
  plantedFault('a folder that the web server may not enter', 'readable', (output) => {
    chmodSync(join(output, DEMO), 0o700);
  }),
  plantedFault('a compressed page of an older state', 'gzip-stale', (output) => {
    const path = join(output, 'simple/old-one/index.html');
    writeFileSync(`${path}.gz`, gzipSync('an older page'));
  }),
  plantedFault('a compressed root of an older state', 'gzip-stale', (output) => {
    writeFileSync(join(output, 'simple/index.html.gz'), gzipSync('an older page'));
  }),
  plantedFault('a compressed page that does not unpack', 'gzip-broken', (output) => {
    const path = join(output, DEMO, 'index.v1_json.gz');
    writeFileSync(path, readFileSync(path).subarray(0, -20));
  }),
  plantedFault('a compressed page without its page', ['gzip-orphan', 'sibling-missing'], (output) => {
    rmSync(join(output, DEMO, 'index.v1_json'));
  }),
  plantedFault('a compressed page of another time', 'gzip-time', (output) => {
    utimesSync(join(output, 'index.html.gz'), 1e9, 1e9);
  }),
];

const HOME_PAGE = 'index.html';
const PROJECT_PAGE = 'project/demo/index.html';

const changePage = (path: string, from: string | RegExp, to: string) => (output: string) => {
  rmSync(join(output, `${path}.gz`), { force: true });
  editPage(output, path, replacing(from, to));
};

export const SITE_FAULTS: readonly PlantedFault[] = [
  plantedFault(
    'a project without a page for people',
    ['project-page', 'link-broken', 'sitemap-link'],
    (output) => {
      rmSync(join(output, 'project/old-one/index.html'));
    },
  ),
  plantedFault('a project without its page in PyPI’s JSON', 'pypi-json', (output) => {
    rmSync(join(output, 'pypi/demo/json'));
  }),
  plantedFault('a page in PyPI’s JSON with another hash', 'pypi-json', (output) => {
    const [hash = ''] = /[0-9a-f]{64}/.exec(readFileSync(join(output, 'pypi/demo/json'), 'utf8')) ?? [];
    editPage(output, 'pypi/demo/json', (text) => text.replaceAll(hash, OTHER_SHA256));
  }),
  plantedFault('a page in PyPI’s JSON of an older state', 'pypi-json', (output) => {
    editPage(output, 'pypi/demo/json', replacing(/"last_serial":\d+/, '"last_serial":1'));
  }),
  plantedFault('a page in PyPI’s JSON whose files mirrors can not place', 'pypi-json', (output) => {
    editPage(output, 'pypi/demo/json', replacing(/\/packages\/demo\//g, '/simple/demo/'));
  }),
  plantedFault('a page in PyPI’s JSON of a project that is gone', 'pypi-orphan', (output) => {
    mkdirSync(join(output, 'pypi/gone'));
    writeFileSync(join(output, 'pypi/gone/json'), '{}');
  }),
  plantedFault('a project without its JSON', ['project-json', 'link-broken'], (output) => {
    rmSync(join(output, 'project/old-one/json'), { recursive: true });
  }),
  plantedFault('a project’s JSON that is cut off', 'json-parse', (output) => {
    editPage(output, 'project/demo/json/index.json', (text) => text.slice(0, -3));
  }),
  plantedFault('a project’s JSON with another hash', 'project-json', (output) => {
    editPage(
      output,
      'project/demo/json/index.json',
      replacing(/"sha256":"[0-9a-f]+"/, `"sha256":"${OTHER_SHA256}"`),
    );
  }),
  plantedFault('a site without its page for what is not there', 'site-page', (output) => {
    rmSync(join(output, '404.html'));
  }),
  plantedFault('a site without a sitemap', 'site-extra', (output) => {
    rmSync(join(output, 'sitemap.xml'));
  }),
  plantedFault(
    'a link that leads nowhere',
    'link-broken',
    changePage(PROJECT_PAGE, '</body>', '<a href="../nobody/">nobody</a></body>'),
  ),
  plantedFault(
    'an asset that is not there',
    'link-broken',
    changePage(HOME_PAGE, '</head>', '<link rel="icon" href="static/none.svg"></head>'),
  ),
  plantedFault(
    'a link to a part that its page has not',
    'link-fragment',
    changePage(HOME_PAGE, 'href="#content"', 'href="#middle"'),
  ),
  plantedFault('a page that names a log that is gone', 'log-missing', (output) => {
    rmSync(join(output, 'logs/0001/000001.txt.gz'));
  }),
  plantedFault('a log that is stored as it is', 'log-plain', (output) => {
    writeFileSync(join(output, 'logs/0001/000009.txt'), 'a log');
  }),
  plantedFault('a log that does not unpack', 'gzip-broken', (output) => {
    const path = join(output, 'logs/0001/000001.txt.gz');
    writeFileSync(path, readFileSync(path).subarray(0, -4));
  }),
  plantedFault(
    'a script from another host',
    'foreign-host',
    changePage(HOME_PAGE, '</head>', '<script src="https://cdn.example/x.js"></script></head>'),
  ),
  plantedFault(
    'a picture from another host',
    'foreign-host',
    changePage(PROJECT_PAGE, '</body>', '<img src="//cdn.example/x.png" alt=""></body>'),
  ),
  plantedFault(
    'a page without a policy',
    'csp-missing',
    changePage(HOME_PAGE, 'http-equiv="Content-Security-Policy"', 'name="nothing"'),
  ),
  plantedFault(
    'a policy that allows inline scripts',
    'csp-weak',
    changePage(HOME_PAGE, "style-src 'self'", "style-src 'self' 'unsafe-inline'"),
  ),
  plantedFault(
    'a style of its own',
    'inline-code',
    changePage(HOME_PAGE, '<body', '<body style="color: red"'),
  ),
  plantedFault(
    'a handler of its own',
    'inline-code',
    changePage(PROJECT_PAGE, '<body', '<body onload="go()"'),
  ),
  plantedFault(
    'a link that runs a script',
    'inline-code',
    changePage(PROJECT_PAGE, '</body>', '<a href="javascript:go()">go</a></body>'),
  ),
  plantedFault('a page without a language', 'page-lang', changePage(HOME_PAGE, '<html lang="en"', '<html')),
  plantedFault(
    'an id that stands twice',
    'page-ids',
    changePage(HOME_PAGE, '</body>', '<p id="content"></p></body>'),
  ),
  plantedFault('a page that is cut off', ['html-whole'], changePage(HOME_PAGE, /<\/html>\s*$/, '')),
  plantedFault('statistics that are no JSON', 'statistics-json', (output) => {
    editPage(output, 'statistics.json', (text) => `${text}}`);
  }),
  plantedFault('data of the search that are cut off', 'data-json', (output) => {
    mkdirSync(join(output, 'search'), { recursive: true });
    writeFileSync(join(output, 'search/zz.json'), '[["six",');
  }),
  plantedFault('a sitemap that is cut off', 'sitemap-xml', changePage('sitemaps/0001.xml', '</urlset>', '')),
  plantedFault(
    'a sitemap of another host',
    'sitemap-address',
    changePage('sitemaps/0001.xml', 'https://farm.example/faq', 'https://other.example/faq'),
  ),
  plantedFault(
    'a sitemap that names what is not there',
    'sitemap-link',
    changePage('sitemaps/0001.xml', 'faq.html', 'fax.html'),
  ),
  plantedFault('a sitemap that is not there', 'sitemap-link', (output) => {
    rmSync(join(output, 'sitemaps/0001.xml'));
  }),
  plantedFault(
    'robots that keep everybody out',
    'robots',
    changePage('robots.txt', 'User-agent: *', 'User-agent: *\nDisallow: /'),
  ),
  plantedFault('robots that do not name the sitemap', 'robots', changePage('robots.txt', /Sitemap: .*/, '')),
];
