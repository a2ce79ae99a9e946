import { mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import t from 'tap';
import { startWebServer } from '../../src/web/web-server.js';
import { Site } from '../../src/site/site.js';
import { startBrowser } from '../helpers/browser.js';
import { writeMarkedPages, MARKED_BUILD, markedRows } from './marked.js';
import { PAGES, emptyFront, emptyStatistics, paginate, sampleBuild, writeSampleSite } from './sample-site.js';

t.setTimeout(240_000);

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LONG_BUILD = 600_000;

const folder = mkdtempSync(join(tmpdir(), 'piw-browser-'));
const now = Date.now();
const site = await writeSampleSite(folder, null, now);
await site.writeLog(sampleBuild(LONG_BUILD, 100_000, now));
const server = await startWebServer({ root: folder, host: '127.0.0.1', port: 0 });
const base = `http://127.0.0.1:${server.port}/`;
const browser = (await startBrowser()) as Browser;
t.teardown(async () => {
  await browser.close();
  await server.close();
});

interface BrowserVisit {
  readonly page: Page;
  /** Problems in the browser: script errors, policy violations, dialogs, requests to other hosts. */
  readonly troubles: string[];
}

/** Runs `steps` in a new browser context, and returns the problems that the pages caused. */
async function visit(
  options: BrowserContextOptions,
  steps: (visit: BrowserVisit) => Promise<void>,
): Promise<string[]> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const troubles: string[] = [];
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('status of 404'))
      troubles.push(message.text());
  });
  page.on('dialog', (dialog) => {
    troubles.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(base)) troubles.push(`elsewhere: ${request.url()}`);
  });
  await steps({ page, troubles });
  await context.close();
  return troubles;
}

/** Returns how much wider than the window the page is, in pixels. */
const overflow = (page: Page): Promise<number> =>
  page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');

/**
 * Returns axe's serious and critical findings, or `all` findings; for `rules`, or for all rules that are on by default.
 */
async function axeViolations(page: Page, rules: readonly string[] = [], all = false): Promise<string[]> {
  // Injected by the debugger, to which the page's policy does not apply.
  await page.evaluate(AXE);
  return await page.evaluate(`axe.run(${JSON.stringify({ resultTypes: ['violations'], ...(rules.length === 0 ? {} : { runOnly: rules }) })}).then(({ violations }) => violations
    .filter(({ impact }) => ${String(all)} || impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).slice(0, 3).join(' ')))`);
}

void t.test('the search shows results while typing, by any word, and leads to the project', async (t) => {
  const troubles = await visit({}, async ({ page }) => {
    await page.goto(`${base}packages.html`);
    const began = performance.now();
    await page.keyboard.type('r');
    await page.waitForSelector('.results .found li');
    t.comment(`first result after ${(performance.now() - began).toFixed(0)} ms`);
    await page.keyboard.type('est');
    await page.waitForSelector('.found a:text-is("django-rest-framework")');
    t.equal(await page.inputValue('form[data-live] input'), 'rest', 'the field has the focus from the start');
    t.match(page.url(), /\?q=rest$/);
    await page.fill('form[data-live] input', 'Scikit_Learn');
    await page.waitForSelector('.found a:text-is("scikit-learn")');
    t.equal(await page.locator('.results .found a').first().textContent(), 'scikit-learn');
    await page.fill('form[data-live] input', 'zzzzzzz');
    await page.waitForSelector('.results p:has-text("No package name contains")');
    await page.goto(`${base}packages.html?q=markups`);
    await page.waitForSelector('.found a:text-is("markupsafe")');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/project\/markupsafe\/$/);
    t.match(await page.textContent('h1'), 'markupsafe');
  });
  t.same(troubles, []);
});

void t.test('the search tolerates a typo, and finds the middle of a word', async (t) => {
  const troubles = await visit({}, async ({ page }) => {
    const first = page.locator('.results .found a').first();
    const find = async (text: string, name: string) => {
      await page.fill('form[data-live] input', text);
      await page.waitForSelector(`.results .found a:text-is("${name}")`);
    };
    await page.goto(`${base}packages.html`);
    for (const [typed, name] of [
      ['markusafe', 'markupsafe'],
      ['markupasfe', 'markupsafe'],
      ['numppy', 'numpy'],
      ['cryptografy', 'cryptography'],
      ['rest-framwork', 'django-rest-framework'],
    ] as const) {
      await find(typed, name);
      t.match(await page.textContent('.results p'), 'Similar names', typed);
    }
    await find('safe', 'markupsafe');
    await find('kupsa', 'markupsafe');
    t.equal(await first.textContent(), 'markupsafe');
    t.equal(await page.textContent('.results p'), '1 package');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/project\/markupsafe\/$/);
  });
  t.same(troubles, []);
});

void t.test("the header's search works with the keyboard and for screen readers", async (t) => {
  const troubles = await visit({}, async ({ page }) => {
    const input = page.locator('#search-small');
    const options = page.locator('#search-small-list [role=option]');
    const searchFor = async (text: string) => {
      await page.goto(`${base}${PAGES.farm}`);
      await page.keyboard.press('/');
      await page.keyboard.type(text);
    };
    await searchFor('req');
    await options.filter({ hasText: 'requests-oauthlib' }).waitFor();
    t.equal(await input.getAttribute('role'), 'combobox');
    t.equal(await input.getAttribute('aria-expanded'), 'true');
    t.same(await axeViolations(page), [], 'with an open list');
    await page.keyboard.press('ArrowDown');
    t.equal(await input.getAttribute('aria-activedescendant'), await options.first().getAttribute('id'));
    t.equal(await options.first().getAttribute('aria-selected'), 'true');
    t.equal(await page.evaluate('document.activeElement.id'), 'search-small', 'the field keeps the focus');
    await page.keyboard.press('Escape');
    t.equal(await input.getAttribute('aria-expanded'), 'false');
    t.equal(await input.getAttribute('aria-activedescendant'), null);
    await page.keyboard.press('ArrowDown');
    const name = await options.first().locator('b').textContent();
    await page.keyboard.press('Enter');
    await page.waitForURL(`${base}project/${name ?? ''}/`);
    await searchFor('kupsa');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/project\/markupsafe\/$/);
    await searchFor('res');
    await page.keyboard.press('Enter');
    await page.waitForURL(/packages\.html\?q=res$/);
    await page.waitForSelector('.found a:text-is("restfulpy")');
    await searchFor('markus');
    await options.filter({ hasText: 'markupsafe' }).click();
    await page.waitForURL(/\/project\/markupsafe\/$/);
  });
  t.same(troubles, []);
});

void t.test('the page for missing addresses suggests packages from the words of the address', async (t) => {
  const troubles = await visit({}, async ({ page }) => {
    for (const [path, name] of [
      ['project/Scikit_Lea/3.0', 'scikit-learn'],
      ['project/markusafe/1.0', 'markupsafe'],
      ['simple/nothing-like-numpy/', 'numpy'],
    ] as const) {
      await page.goto(`${base}${path}`);
      await page.waitForSelector(`.found a:text-is("${name}")`);
    }
  });
  t.same(troubles, []);
});

void t.test('landmarks have unique names, and targets are large enough to click', async (t) => {
  const troubles = await visit({ viewport: { width: 375, height: 800 } }, async ({ page }) => {
    for (const [name, path] of Object.entries(PAGES)) {
      await page.goto(`${base}${path}`);
      t.same(await axeViolations(page, ['landmark-unique', 'target-size'], true), [], name);
    }
  });
  t.same(troubles, []);
});

void t.test('a log is aligned with the header, and a table shows that it can be scrolled', async (t) => {
  const troubles = await visit({ viewport: { width: 1600, height: 800 } }, async ({ page }) => {
    const left = (selector: string) =>
      page.evaluate(`document.querySelector('${selector}').getBoundingClientRect().left`);
    await page.goto(`${base}${PAGES.log}`);
    t.equal(await left('.lines'), await left('.home'));
    await page.setViewportSize({ width: 375, height: 800 });
    await page.goto(`${base}${PAGES.project}`);
    t.match(
      await page.evaluate(`getComputedStyle(document.querySelector('.scroll')).backgroundAttachment`),
      'local, local, scroll, scroll',
    );
    const gap = await page.evaluate(`(() => {
      const name = document.querySelector('.files .file').getBoundingClientRect();
      return document.querySelector('.files .soft').getBoundingClientRect().top - name.bottom;
    })()`);
    t.ok(Number(gap) >= 0, "a file's size is below its name");
  });
  t.same(troubles, []);
});

void t.test(
  'the slash key focuses the search, and the first Tab offers to skip to the content',
  async (t) => {
    const troubles = await visit({}, async ({ page }) => {
      await page.goto(`${base}${PAGES.project}`);
      await page.keyboard.press('Tab');
      t.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the content');
      await page.keyboard.press('Enter');
      t.equal(await page.evaluate('document.activeElement.id'), 'content');
      await page.keyboard.press('/');
      t.equal(await page.evaluate('document.activeElement.name'), 'q');
      await page.keyboard.type('pillow');
      await page.keyboard.press('Enter');
      await page.waitForURL(/\/project\/pillow\/$/);
    });
    t.same(troubles, []);
  },
);

void t.test('a log highlights the failing line and scrolls to it, also in a shortened log', async (t) => {
  const troubles = await visit({ viewport: { width: 1280, height: 800 } }, async ({ page }) => {
    await page.goto(`${base}${PAGES.project}`);
    for (const build of ['500042', '600000']) {
      const began = performance.now();
      await page.goto(`${base}logs/0000/${build}.html#why`);
      const failing = page.locator('.failing');
      t.match(await failing.textContent(), 'fatal error: libxml/xmlversion.h');
      await page.waitForFunction(`(() => {
        const { top, bottom } = document.querySelector('.failing').getBoundingClientRect();
        return top > 0 && bottom < innerHeight;
      })()`);
      t.comment(
        `log ${build} with its failing line in view after ${(performance.now() - began).toFixed(0)} ms`,
      );
      t.match(await page.textContent('.notice'), 'It needs the header libxml/xmlversion.h');
    }
    t.match(await page.textContent('.gap'), /Lines \d+ to \d+ are only in the full log/);
    t.notMatch(await page.content(), '\u001b');
  });
  t.same(troubles, []);
});

void t.test('the site works without JavaScript', async (t) => {
  const troubles = await visit({ javaScriptEnabled: false }, async ({ page }) => {
    await page.goto(base);
    t.equal(await page.locator('form.search').count(), 1);
    t.notOk(await page.isVisible('form.search'), 'no search that would not work');
    await page.click('nav >> text=Packages');
    await page.click('summary:has-text("n")');
    await page.click('.letters [open] a:text-matches("^nu")');
    await page.click('.names a:text-is("numpy")');
    t.match(await page.textContent('h1'), 'numpy');
    await page.click('.why a >> nth=0');
    t.equal(new URL(page.url()).hash, '#why');
    await page.goto(base);
    await page.click('label:text-is("48 hours")');
    t.ok(await page.isVisible('.panel.hours'));
  });
  t.same(troubles, []);
});

void t.test(
  'no page scrolls sideways from 320 pixels to 4K, and axe finds nothing serious in light and dark',
  async (t) => {
    for (const colorScheme of ['light', 'dark'] as const) {
      const troubles = await visit(
        { colorScheme, viewport: { width: 1280, height: 900 } },
        async ({ page }) => {
          for (const [name, path] of Object.entries(PAGES)) {
            // These pages have all colours of the site.
            if (colorScheme === 'dark' && !['home', 'project', 'log', 'farm'].includes(name)) continue;
            await page.goto(`${base}${path}`);
            t.same(
              await axeViolations(page, colorScheme === 'dark' ? ['color-contrast'] : []),
              [],
              `${name}, ${colorScheme}`,
            );
            if (colorScheme === 'dark') continue;
            for (const width of [320, 3840]) {
              await page.setViewportSize({ width, height: 900 });
              t.equal(await overflow(page), 0, `${name} at ${width} pixels`);
            }
            await page.setViewportSize({ width: 1280, height: 900 });
          }
          const paper = await page.evaluate('getComputedStyle(document.documentElement).backgroundColor');
          const light = String(paper)
            .match(/\d+/g)
            ?.some((part) => Number(part) > 128);
          t.equal(light, colorScheme === 'light');
        },
      );
      t.same(troubles, []);
    }
  },
);

void t.test('pages with markup in every field run no scripts and keep their layout', async (t) => {
  const markupSite = new Site({ outputPath: folder, publicUrl: null });
  await writeMarkedPages(markupSite, now);
  await markupSite.writeSearch(paginate(markedRows()));
  const troubles = await visit({ viewport: { width: 320, height: 700 } }, async ({ page }) => {
    for (const path of [
      '',
      'farm.html',
      'project/demo/',
      `logs/0000/${MARKED_BUILD}.html`,
      'packages.html?q=demo',
    ]) {
      await page.goto(`${base}${path}`);
      if (path.includes('?q')) await page.waitForSelector('.results .found li');
      t.match(await page.textContent('body'), '<script>alert', `${path} shows it as text`);
      t.equal(await page.evaluate('document.querySelectorAll("img, iframe, main script, b b").length'), 0);
      t.equal(await overflow(page), 0, path);
    }
  });
  t.same(troubles, []);
});

void t.test('these tests notice policy violations', async (t) => {
  const troubles = await visit({}, async ({ page }) => {
    await page.goto(base);
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { textContent: 'alert(1)' }))`,
    );
    await page.evaluate(`fetch('http://127.0.0.1:9/').catch(() => undefined)`);
  });
  t.match(troubles.join(' '), /inline script/);
  t.match(troubles.join(' '), /connect-src/);
});

void t.test('a farm that has just started has working pages', async (t) => {
  site.writeHome(emptyStatistics, emptyFront);
  site.writeFarm(emptyStatistics, null, null, now);
  await site.writeSearch(paginate([]));
  const troubles = await visit({ viewport: { width: 320, height: 700 } }, async ({ page }) => {
    for (const path of ['', 'farm.html', 'packages.html']) {
      await page.goto(`${base}${path}`);
      t.same(await axeViolations(page), [], path);
      t.equal(await overflow(page), 0, path);
    }
    t.match(await page.textContent('main'), 'There are no packages yet');
    await page.goto(`${base}farm.html`);
    t.match(await page.textContent('main'), 'The Slave Driver did not answer');
  });
  t.same(troubles, []);
});
