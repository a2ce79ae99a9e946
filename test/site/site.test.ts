import { existsSync, mkdtempSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Parser } from 'htmlparser2';
import t from 'tap';
import { pipInstallCommand } from '../../src/site/pages/install.js';
import type { Build } from '../../src/site/pages/log.js';
import { logPath } from '../../src/site/layout.js';
import { Site } from '../../src/site/site.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { MARKED_BUILD, MARKUP, writeMarkedPages, markedRows } from './marked.js';
import { paginate } from './sample-site.js';
import { memoryFolder } from '../helpers/memory-folder.js';

const sampleLog: Build = {
  build_id: 12,
  package: 'demo',
  version: '1.0',
  abi: 'cp311',
  platform: 'linux_x86_64',
  status: true,
  failure_class: null,
  built: 0,
  duration_s: 1,
  slave: 'anvil',
  output: 'a log',
  details: NO_DETAILS,
};

function setUpSite() {
  const output = mkdtempSync(join(memoryFolder(), 'piw-site-'));
  const testSite = new Site({ outputPath: output, publicUrl: 'http://127.0.0.1:1/' });
  testSite.setUp();
  return { output, site: testSite, read: (path: string) => readFileSync(join(output, path), 'utf8') };
}

/** Every element and attribute in the site's own templates. */
const ELEMENTS =
  'a b body br button circle code dd details div dl dt fieldset footer form g h1 h2 h3 head header html input kbd label legend li link main mark meta meter nav ol p path pre rect script section small span summary svg table tbody td text th thead time title tr ul'.split(
    ' ',
  );
const ATTRIBUTES =
  'action aria-current aria-hidden aria-label aria-labelledby autocapitalize autocomplete charset checked class colspan content cx cy d data-browse data-live data-root datetime fill for height href http-equiv id lang max maxlength method min name open placeholder preserveaspectratio property r rel role scope spellcheck src stroke stroke-linecap stroke-width tabindex type value viewbox width x y'.split(
    ' ',
  );

void t.test('markup in any field of any page creates no elements or attributes', async (t) => {
  const { site: testSite, read, output } = setUpSite();
  await writeMarkedPages(testSite, Date.UTC(2026, 10, 21));
  await testSite.writeSearch(paginate(markedRows()));
  const log = gunzipSync(readFileSync(join(output, `${logPath(MARKED_BUILD)}.gz`))).toString();
  const pages = {
    home: read('index.html'),
    farm: read('farm.html'),
    project: read('project/demo/index.html'),
    packages: read('packages.html'),
    list: read('search/names/de.html'),
    log,
  };
  for (const [name, html] of Object.entries(pages)) {
    let text = '';
    let scripts = 0;
    const parser = new Parser({
      onopentag: (element, attributes) => {
        if (!ELEMENTS.includes(element)) t.fail(`${name} has an element ${element}`);
        if (element === 'script') scripts += 1;
        for (const [attribute, value] of Object.entries(attributes)) {
          if (!ATTRIBUTES.includes(attribute)) t.fail(`${name} has an attribute ${attribute}`);
          if (/^\s*javascript:/i.test(value)) t.fail(`${name} has a javascript: URL`);
        }
      },
      ontext: (data) => {
        text += data;
      },
    });
    parser.end(html);
    t.equal(scripts, 1, `${name} has only the site's own script`);
    // A list of names shows only names, which have no markup.
    if (name !== 'list') t.match(text, MARKUP, `${name} shows it as text`);
    // eslint-disable-next-line no-control-regex
    t.notMatch(html, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/, `${name} has no control characters`);
  }
  t.match(JSON.parse(read('project/demo/json/index.json')), { description: MARKUP, skipped: MARKUP });
  t.match(read('project/demo/json/index.json'), /^\{"_last-serial":1,/);
});

void t.test('temporary files of a killed process are removed', async (t) => {
  const { site: testSite, output } = setUpSite();
  writeFileSync(join(output, '.tmp-left-over'), 'x');
  utimesSync(join(output, '.tmp-left-over'), 1000, 1000);
  await testSite.writeLog(sampleLog);
  t.equal(gunzipSync(readFileSync(join(output, 'logs/0000/000012.txt.gz'))).toString(), 'a log');
  testSite.setUp();
  t.notOk(readdirSync(output).some((name) => name.startsWith('.tmp-')));
});

void t.test('the pip command trusts a plain HTTP host, except localhost, which needs no trust', (t) => {
  t.equal(
    pipInstallCommand('http://127.0.0.1:8080/simple/', 'six'),
    'pip install --index-url http://127.0.0.1:8080/simple/ six',
  );
  t.match(pipInstallCommand('http://farm.lan/simple/', 'six'), '--trusted-host farm.lan');
  t.notMatch(pipInstallCommand('https://farm.example/simple/', 'six'), /trusted/);
  t.end();
});

void t.test('a removal with a lower serial does not remove a newer project page', async (t) => {
  const { site: testSite, read, output } = setUpSite();
  await writeMarkedPages(testSite, Date.UTC(2026, 10, 21));
  t.match(read('project/demo/json/index.json'), /^\{"_last-serial":1,/);
  testSite.removeProject('demo', 0);
  t.match(read('project/demo/index.html'), /<h1/);
  testSite.removeProject('demo', 2);
  t.notOk(existsSync(join(output, 'project/demo')));
});
