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
import type { RuleId } from '../../src/check/rules.js';
import { editPage, editAllForms, publish, type SimpleJsonPage } from '../helpers/output-path.js';

interface PlantedFault {
  /** What is wrong. */
  readonly description: string;
  /** All rules that find it. */
  readonly rules: readonly RuleId[];
  readonly plant: (output: string) => void | Promise<void>;
}

const DEMO = 'simple/demo';
const WHEEL = 'demo-1.0-py3-none-any.whl';
const LAST_WHEEL = 'demo-1.10-2-cp312-cp312-linux_x86_64.whl';
const OTHER_SHA256 = 'ab'.repeat(32);

const plantedFault = (
  description: string,
  rules: RuleId | readonly RuleId[],
  plant: PlantedFault['plant'],
): PlantedFault => ({
  description,
  rules: typeof rules === 'string' ? [rules] : rules,
  plant,
});

const fileIn = (page: SimpleJsonPage, filename = WHEEL): Record<string, unknown> => {
  const file = page.files.find((entry) => entry['filename'] === filename);
  if (!file) throw new Error(`no ${filename}`);
  return file;
};

/** Changes only the JSON. */
const changeJson =
  (change: (page: SimpleJsonPage) => void, folder = DEMO) =>
  (output: string) => {
    rmSync(join(output, folder, 'index.v1_json.gz'), { force: true });
    editAllForms(output, folder, undefined, change);
  };

/** Changes both HTML forms, or only the given ones. */
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
/** Removes a wheel from all forms. */
const unlist = (filename: string) =>
  changeAllForms(replacing(anchorOf(filename), ''), (page) => {
    page.files = page.files.filter((file) => file['filename'] !== filename);
  });
/** Replaces a hash in all forms. */
const rehash = (output: string, from: string, to: string): void => {
  for (const form of SIBLINGS) editPage(output, `${DEMO}/${form}`, (text) => text.replaceAll(from, to));
  rmSync(join(output, DEMO, 'index.v1_json.gz'), { force: true });
};
const readBytes = (output: string, path: string): Buffer => readFileSync(join(output, path));

/** Changes the bytes of a wheel, and its hash everywhere. */
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
  plantedFault('a missing form of a page', 'sibling-missing', (output) => {
    rmSync(join(output, DEMO, 'index.v1_html'));
  }),
  plantedFault('a missing form of the root', 'sibling-missing', (output) => {
    rmSync(join(output, 'simple/index.v1_html'));
  }),
  plantedFault('a page that is not UTF-8', 'page-utf8', (output) => {
    appendFileSync(join(output, DEMO, 'index.html'), Buffer.from([0xff]));
  }),
  plantedFault(
    'a truncated HTML page',
    ['html-whole', 'siblings-files'],
    changeHtml((text) => text.slice(0, -200)),
  ),
  plantedFault('HTML without a doctype', 'html-whole', changeHtml(replacing('<!DOCTYPE html>\n', ''))),
  plantedFault(
    'the wrong version in HTML',
    'html-version',
    changeHtml(replacing('content="1.4"', 'content="1.0"')),
  ),
  plantedFault(
    'an anchor with the wrong text',
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
    'an unescaped > in data-requires-python',
    'html-escaped',
    changeHtml(replacing('"&gt;=3.8"', '">=3.8"')),
  ),
  plantedFault(
    'no metadata hash in HTML',
    ['html-core-metadata', 'siblings-metadata'],
    changeHtml(replacing(/ data-core-metadata="[^"]*"/, '')),
  ),
  plantedFault(
    'metadata under only its old name',
    ['html-core-metadata', 'html-dist-info-metadata', 'siblings-metadata'],
    changeHtml(replacing('data-core-metadata', 'data-dist-info-metadata')),
  ),
  plantedFault(
    'metadata under both names',
    'html-dist-info-metadata',
    changeHtml(replacing(/data-core-metadata=("[^"]*")/, 'data-core-metadata=$1 data-dist-info-metadata=$1')),
  ),
  plantedFault(
    'a metadata hash without its algorithm',
    'html-core-metadata',
    changeHtml(replacing('data-core-metadata="sha256=', 'data-core-metadata="')),
  ),
  plantedFault(
    'a meta of a rejected PEP in HTML',
    'html-key',
    changeHtml(
      replacing('</head>', '<meta name="pypi:alternate-locations" content="https://elsewhere.example/">$&'),
    ),
  ),
  plantedFault(
    'an attribute of no specification',
    'html-key',
    changeHtml(replacing('<a ', '<a data-size="12" ')),
  ),
  plantedFault(
    'a base element that makes URLs lead elsewhere',
    'html-base',
    changeHtml(replacing('</head>', '<base href="/elsewhere/"></head>')),
  ),
  plantedFault('JSON that begins with a byte order mark', 'json-parse', (output) => {
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
  plantedFault('truncated JSON', 'json-parse', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'));
    editPage(output, `${DEMO}/index.v1_json`, (text) => text.slice(0, -1));
  }),
  plantedFault('a repeated key', 'json-twice', (output) => {
    rmSync(join(output, DEMO, 'index.v1_json.gz'), { force: true });
    editPage(output, `${DEMO}/index.v1_json`, replacing('"size":', '"size":1,"size":'));
  }),
  plantedFault(
    'files that are not a list',
    ['json-shape', 'siblings-files', 'project-empty', 'file-unlisted', 'pypi-json'],
    changeJson((page) => {
      Object.assign(page, { files: {} });
    }),
  ),
  plantedFault(
    'the wrong version in JSON',
    'json-version',
    changeJson((page) => {
      page.meta['api-version'] = '1.0';
    }),
  ),
  plantedFault(
    'a name in JSON that is not normalised',
    'json-name',
    changeJson((page) => {
      page['name'] = 'Zope.Interface';
    }, 'simple/zope-interface'),
  ),
  plantedFault(
    'a hash in upper case',
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
    'a size that is a string',
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
    'an upload-time on 30 February',
    'json-upload-time',
    changeJson((page) => {
      fileIn(page)['upload-time'] = '2026-02-30T03:04:05.000000Z';
    }),
  ),
  plantedFault(
    'an upload-time in the future',
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
    'a key of a PEP that is not implemented',
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
    'an unknown status',
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
    'an invalid wheel filename',
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
    'a file on another host',
    'file-url',
    changeJson((page) => {
      fileIn(page)['url'] = `https://elsewhere.example/${WHEEL}`;
    }),
  ),
  plantedFault(
    'a version that is missing from versions',
    'versions-complete',
    changeJson((page) => {
      page.versions = page.versions.filter((version) => version !== '1.10');
    }),
  ),
  plantedFault(
    'a repeated version',
    'versions-unique',
    changeJson((page) => {
      page.versions.push('1.10');
    }),
  ),
  plantedFault(
    'versions in alphabetical order',
    'versions-order',
    changeJson((page) => {
      page.versions.sort();
    }),
  ),
  plantedFault(
    'files in alphabetical order',
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
    'an invalid requires-python',
    ['requires-python-valid', 'wheel-requires-python'],
    changeAllForms(replacing('"&gt;=3.8"', '"three"'), (page) => {
      fileIn(page, 'demo-1.0rc1-py3-none-any.whl')['requires-python'] = 'three';
    }),
  ),
  plantedFault(
    'a requires-python that differs from the wheel’s',
    'wheel-requires-python',
    changeAllForms(replacing('"&gt;=3.8"', '"&gt;=3.9"'), (page) => {
      fileIn(page, 'demo-1.0rc1-py3-none-any.whl')['requires-python'] = '>=3.9';
    }),
  ),
  plantedFault(
    'a page whose serial does not go with the root',
    'serial-number',
    changeJson((page) => {
      if ('_last-serial' in page.meta) delete page.meta['_last-serial'];
      else page.meta['_last-serial'] = 1;
    }),
  ),
  plantedFault(
    'a serial that is a string',
    'serial-number',
    changeJson((page) => {
      page.meta['_last-serial'] = '7';
    }),
  ),
  plantedFault('a page with a lower serial than in the root', ['serial-behind', 'pypi-json'], (output) => {
    setSerials(output, { root: 9, demo: 8 });
    changeJson((page) => {
      page.meta['_last-serial'] = 7;
    })(output);
  }),
  plantedFault('a root with a lower serial than a project', ['root-serial', 'pypi-json'], (output) => {
    setSerials(output, { root: 9, demo: 8 });
    changeJson((page) => {
      page.meta['_last-serial'] = 7;
    }, 'simple')(output);
  }),
];

/** Sets the serials of the root and of all pages. */
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
    'a form with another metadata hash',
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
    'a root with a wrong link',
    'root-anchor',
    changeHtml(replacing('href="old-one/"', 'href="old-two/"'), 'simple'),
  ),
  plantedFault(
    'a project in the root without a page',
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
    'a project that is not in the root',
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
    'a project without files',
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
  plantedFault('a missing wheel', ['file-missing', 'link-broken'], (output) => {
    rmSync(join(output, DEMO, WHEEL));
  }),
  plantedFault('a wheel that is longer than listed', 'file-size', (output) => {
    appendFileSync(join(output, DEMO, WHEEL), 'x');
  }),
  plantedFault('a wheel with a flipped bit', 'file-hash', (output) => {
    const wheel = readBytes(output, `${DEMO}/${WHEEL}`);
    wheel.writeUInt8(wheel.readUInt8(40) ^ 1, 40);
    writeFileSync(join(output, DEMO, WHEEL), wheel);
  }),
  plantedFault(
    'a wheel that cannot be opened',
    'wheel-broken',
    replaceWheel((wheel) => Buffer.alloc(wheel.length, 1)),
  ),
  plantedFault('missing metadata', 'metadata-missing', (output) => {
    rmSync(join(output, DEMO, `${WHEEL}.metadata`));
  }),
  plantedFault('metadata with another hash', ['metadata-hash', 'metadata-bytes'], (output) => {
    appendFileSync(join(output, DEMO, `${WHEEL}.metadata`), 'x');
  }),
  plantedFault('metadata that differs from the wheel’s', 'metadata-bytes', (output) => {
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
    'a wheel that its page no longer lists',
    ['file-unlisted', 'project-json', 'pypi-json'],
    unlist(LAST_WHEEL),
  ),
  plantedFault('a temporary file next to a wheel', 'temporary-left', (output) => {
    writeFileSync(join(output, DEMO, '.tmp-0123456789abcdef'), 'x');
  }),
  plantedFault('a temporary file in a folder of pages', 'temporary-left', (output) => {
    writeFileSync(join(output, 'project/demo/json/.tmp-0123456789abcdef'), 'x');
  }),
  plantedFault('an unknown file', 'stray-file', (output) => {
    writeFileSync(join(output, DEMO, 'notes.txt'), 'x');
  }),
  plantedFault('a wheel that the web server cannot read', 'readable', (output) => {
    chmodSync(join(output, DEMO, WHEEL), 0o600);
  }),
  plantedFault('a folder that the web server cannot enter', 'readable', (output) => {
    chmodSync(join(output, DEMO), 0o700);
  }),
  plantedFault('a compressed page of an older state', 'gzip-stale', (output) => {
    const path = join(output, 'simple/old-one/index.html');
    writeFileSync(`${path}.gz`, gzipSync('an older page'));
  }),
  plantedFault('a compressed root of an older state', 'gzip-stale', (output) => {
    writeFileSync(join(output, 'simple/index.html.gz'), gzipSync('an older page'));
  }),
  plantedFault('a compressed page that cannot be unpacked', 'gzip-broken', (output) => {
    const path = join(output, DEMO, 'index.v1_json.gz');
    writeFileSync(path, readFileSync(path).subarray(0, -20));
  }),
  plantedFault('a compressed page without its page', ['gzip-orphan', 'sibling-missing'], (output) => {
    rmSync(join(output, DEMO, 'index.v1_json'));
  }),
  plantedFault('a compressed page with another modification time', 'gzip-time', (output) => {
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
  plantedFault('a page in PyPI’s JSON with URLs that mirrors do not accept', 'pypi-json', (output) => {
    editPage(output, 'pypi/demo/json', replacing(/\/packages\/demo\//g, '/simple/demo/'));
  }),
  plantedFault('a page in PyPI’s JSON of a removed project', 'pypi-orphan', (output) => {
    mkdirSync(join(output, 'pypi/gone'));
    writeFileSync(join(output, 'pypi/gone/json'), '{}');
  }),
  plantedFault('a project without its JSON', ['project-json', 'link-broken'], (output) => {
    rmSync(join(output, 'project/old-one/json'), { recursive: true });
  }),
  plantedFault('a project’s JSON that is truncated', 'json-parse', (output) => {
    editPage(output, 'project/demo/json/index.json', (text) => text.slice(0, -3));
  }),
  plantedFault('a project’s JSON with another hash', 'project-json', (output) => {
    editPage(
      output,
      'project/demo/json/index.json',
      replacing(/"sha256":"[0-9a-f]+"/, `"sha256":"${OTHER_SHA256}"`),
    );
  }),
  plantedFault('a site without its page for missing addresses', 'site-page', (output) => {
    rmSync(join(output, '404.html'));
  }),
  plantedFault('a site without a sitemap', 'site-extra', (output) => {
    rmSync(join(output, 'sitemap.xml'));
  }),
  plantedFault(
    'a broken link',
    'link-broken',
    changePage(PROJECT_PAGE, '</body>', '<a href="../nobody/">nobody</a></body>'),
  ),
  plantedFault(
    'a missing asset',
    'link-broken',
    changePage(HOME_PAGE, '</head>', '<link rel="icon" href="static/none.svg"></head>'),
  ),
  plantedFault(
    'a link to a missing part of its page',
    'link-fragment',
    changePage(HOME_PAGE, 'href="#content"', 'href="#middle"'),
  ),
  plantedFault('a link to a missing log', 'log-missing', (output) => {
    rmSync(join(output, 'logs/0001/000001.txt.gz'));
  }),
  plantedFault('a log that is not compressed', 'log-plain', (output) => {
    writeFileSync(join(output, 'logs/0001/000009.txt'), 'a log');
  }),
  plantedFault('a log that cannot be unpacked', 'gzip-broken', (output) => {
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
  plantedFault('an inline style', 'inline-code', changePage(HOME_PAGE, '<body', '<body style="color: red"')),
  plantedFault(
    'an inline event handler',
    'inline-code',
    changePage(PROJECT_PAGE, '<body', '<body onload="go()"'),
  ),
  plantedFault(
    'a link that runs a script',
    'inline-code',
    changePage(PROJECT_PAGE, '</body>', '<a href="javascript:go()">go</a></body>'),
  ),
  plantedFault('a page without a language', 'page-lang', changePage(HOME_PAGE, '<html lang="en"', '<html')),
  plantedFault('a repeated id', 'page-ids', changePage(HOME_PAGE, '</body>', '<p id="content"></p></body>')),
  plantedFault('a truncated page', ['html-whole'], changePage(HOME_PAGE, /<\/html>\s*$/, '')),
  plantedFault('statistics that are not JSON', 'statistics-json', (output) => {
    editPage(output, 'statistics.json', (text) => `${text}}`);
  }),
  plantedFault('truncated search data', 'data-json', (output) => {
    mkdirSync(join(output, 'search'), { recursive: true });
    writeFileSync(join(output, 'search/zz.json'), '[["six",');
  }),
  plantedFault('a truncated sitemap', 'sitemap-xml', changePage('sitemaps/0001.xml', '</urlset>', '')),
  plantedFault(
    'a sitemap with another host',
    'sitemap-address',
    changePage('sitemaps/0001.xml', 'https://farm.example/faq', 'https://other.example/faq'),
  ),
  plantedFault(
    'a sitemap with a missing page',
    'sitemap-link',
    changePage('sitemaps/0001.xml', 'faq.html', 'fax.html'),
  ),
  plantedFault('a missing part of the sitemap', 'sitemap-link', (output) => {
    rmSync(join(output, 'sitemaps/0001.xml'));
  }),
  plantedFault(
    'a robots.txt that keeps all crawlers out',
    'robots',
    changePage('robots.txt', 'User-agent: *', 'User-agent: *\nDisallow: /'),
  ),
  plantedFault(
    'a robots.txt that does not name the sitemap',
    'robots',
    changePage('robots.txt', /Sitemap: .*/, ''),
  ),
];
