import { bandersnatchConfig } from './bandersnatch.js';
import { renderPage, commandBlock } from './design.js';
import { html, type Html } from './html.js';
import { configurationCards, pipInstallCommand, simpleUrl, trustedHost } from './install.js';
import { faqPath, farmPath, packagesPath } from './layout.js';

/** A question: where it stands in the page, and its answer. */
type FaqEntry = readonly [id: string, question: string, answer: Html];

export function faqPage(publicUrl: string | null): string {
  const entries = faqEntries(publicUrl);
  return renderPage(
    {
      title: 'Questions – piw',
      description: 'What this farm is, how to install from it, and why a package is not there.',
      root: './',
      publicUrl,
      path: faqPath,
      section: 'faq',
      kind: 'faq',
    },
    html`<h1>Questions</h1>
      <nav class="contents" aria-label="Questions">
        <ol>
          ${entries.map(([id, question]) => html`<li><a href="#${id}">${question}</a></li>`)}
        </ol>
      </nav>
      ${entries.map(
        ([id, question, answer]) =>
          html`<section aria-labelledby="${id}">
            <h2 id="${id}">${question}</h2>
            ${answer}
          </section>`,
      )}`,
  );
}

function faqEntries(publicUrl: string | null): readonly FaqEntry[] {
  const url = simpleUrl(publicUrl);
  const project = `${publicUrl ?? 'https://this-farm.example/'}project/numpy/json/`;
  const host = trustedHost(url);
  return [
    [
      'what',
      'What is this?',
      html`<p>
          A farm that builds
          <a href="https://packaging.python.org/en/latest/specifications/binary-distribution-format/"
            >wheels</a
          >
          from the source that projects publish, on machines of the kinds that it serves, and offers them as
          an index. Where a project publishes no wheel for your machine, your installer would have to compile:
          that takes a compiler, libraries and time, and may fail. From here it takes a download.
        </p>
        <p>
          For each ABI and platform that the farm serves, builders take one version after the other: requests
          first, then the releases of today, then the backlog. What they are at is on the page of
          <a href="${farmPath}">the farm</a>.
        </p>`,
    ],
    [
      'safe',
      'Is it safe?',
      html`<p>
          A wheel from here is what the project’s own source made, and is as trustworthy as that source;
          nobody has read it. The farm sees to the rest: the source is held against the hash that the index
          has published; each build runs without the builder’s secrets and is thrown away afterwards; the
          wheel is opened, checked for its name, version and tags, and its hash is taken before it is
          published; and a published file never changes.
        </p>
        <p>
          Releases that the index has quarantined are not offered. Like every installer’s index, this one can
          decide what you run: use it if you trust whoever runs it.
        </p>`,
    ],
    [
      'pip',
      'How do I use it with pip, uv or Poetry?',
      html`${configurationCards(publicUrl)}
        <p>
          <b>pip</b> looks at all indexes it knows, takes the highest version, and of that the file that fits
          best. With <code>extra-index-url</code> it goes on using PyPI, and takes a wheel from here where
          PyPI has none for you. With <code>index-url</code> in its place, it takes nothing from elsewhere. A
          name that exists on several indexes can be anyone’s on each: name only indexes that you trust.
        </p>
        <p>
          <b>uv</b> takes a package from the first index that has it, and looks no further for its other
          versions. Add <code>index-strategy = "unsafe-best-match"</code> under <code>[tool.uv]</code> to have
          it look at all, as pip does.
        </p>
        <p>
          <b>Poetry</b> asks primary sources first and supplemental ones for what those don’t have; so the
          lines above name PyPI as supplemental.
        </p>
        ${
          host === undefined
            ? html``
            : html`<p>
                This farm is reached over plain http, which anyone between you and it could change: so pip
                wants to be told that it may trust <code>${host}</code>. Use hashes, or have it served over
                https.
              </p>`
        }`,
    ],
    [
      'missing',
      'Why is my package missing?',
      html`<p>Look for it among <a href="${packagesPath}">the packages</a>. Its page says which it is:</p>
        <ul>
          <li><b>waiting</b>: it has its place in the queue. New releases come before old ones.</li>
          <li><b>failed</b>: it was tried, and the page says why.</li>
          <li><b>skipped</b>: whoever runs the farm decided not to build it, and gave a reason.</li>
          <li>
            <b>no source</b>: the project has published only wheels of that version, so there is nothing to
            build.
          </li>
          <li><b>other Python</b>: that version says that it is not for this Python.</li>
          <li>
            <b>not needed</b>: a wheel that was built for another ABI serves this one, too, or is expected to.
          </li>
          <li>
            A package without a page is not on the index that this farm follows, or not among what it was told
            to build.
          </li>
        </ul>`,
    ],
    [
      'failed',
      'Why did a build fail?',
      html`<p>
        The page of the project says it in a sentence, under the version; the log, which is linked there, is
        marked at the line that tells most. Often a library of the system is missing on the builders, or the
        code is older than the compiler or than this version of Python. A failure that may pass (an index out
        of reach, a full disk) is tried again by itself. All others stay until whoever runs the farm has it
        built again.
      </p>`,
    ],
    [
      'report',
      'How do I report something?',
      html`<p>
        Where a package doesn’t build from source here, it mostly doesn’t elsewhere: show the project the log,
        whose lines have addresses of their own (the number in front of each). What is wrong with this farm,
        its wheels or its pages, tell whoever runs it; name the package, the version, the ABI, and the number
        of the build, which is on top of its log.
      </p>`,
    ],
    [
      'yanked',
      'What does yanked mean?',
      html`<p>
        That its project took the release back, mostly because something is wrong with it. The files stay,
        marked, for those who have pinned that very version (<code>==</code>); otherwise installers pass them
        over. Yanked releases are not built here any more. Quarantined is something else: the index suspects
        harm, and nothing is offered until that is cleared.
      </p>`,
    ],
    [
      'binary',
      'How do I make sure that nothing is compiled on my machine?',
      html`<p>Say so: then what has no wheel is an error at once, and not after an hour.</p>
        ${commandBlock(`${pipInstallCommand(url, 'PACKAGE')} --only-binary :all:`, 'pip, wheels only')}
        ${commandBlock('uv pip install --only-binary :all: PACKAGE\npoetry config installer.only-binary :all:', 'uv and Poetry, wheels only')}`,
    ],
    [
      'hashes',
      'Can I pin hashes?',
      html`<p>
        Yes: every file has its SHA-256 in the index, on its project’s page and in the JSON, and it never
        changes. The hash of a wheel from here is not that of the project’s own wheel, nor of its source:
        requirements that are to work with both have to hold both, which
        <code>pip-compile --generate-hashes</code> sees to if it knows this index beside PyPI.
        <code>uv lock</code> and <code>poetry lock</code> write down the files of one index, with its address:
        those of this one, where it is named first and has the version.
      </p>`,
    ],
    [
      'json',
      'Is there a JSON API?',
      html`<p>
          Two, and for <a href="#mirrors">mirrors</a> that of PyPI. Installers use the simple index
          (<code>${url}</code>), JSON of version 1.4 by
          <code>Accept: application/vnd.pypi.simple.v1+json</code>. What a project’s page shows is there for
          programs, too:
        </p>
        ${commandBlock(`curl ${project}`, 'To read a project as JSON')}
        <div class="scroll" tabindex="0" role="region" aria-label="The keys of a project's JSON">
          <table>
            <thead>
              <tr>
                <th scope="col">key</th>
                <th scope="col">what it holds</th>
              </tr>
            </thead>
            <tbody>
              ${JSON_KEYS.map(
                ([key, meaning]) =>
                  html`<tr>
                    <th scope="row"><code>${key}</code></th>
                    <td>${meaning}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
        <p>
          Times are ISO 8601 in UTC, sizes are bytes, what is unknown is <code>null</code>. Addresses are
          whole where the farm knows its own, else relative to that of the JSON. Keys may be added; none goes,
          or gets another meaning. The farm’s own figures are in
          <a href="statistics.json">statistics.json</a>.
        </p>`,
    ],
    [
      'mirrors',
      'Can I mirror it?',
      html`<p>
          Yes. The simple index has serials as PyPI’s has (<code>_last-serial</code> in its JSON; piw’s own
          web server also sends <code>X-PyPI-Last-Serial</code>), so that a mirror fetches only what has
          changed. Everything is a static file: a mirror, or a cache between the farm and many machines, needs
          no more than a web server.
        </p>
        <p>
          <a href="https://bandersnatch.readthedocs.io/">bandersnatch</a> 6.7 or later mirrors the farm with
          this <code>bandersnatch.conf</code>. Without <code>api-method = simple</code> it asks for the list
          of packages by XML-RPC, which the farm does not speak.
        </p>
        ${subpathWarning(publicUrl)} ${commandBlock(bandersnatchConfig(publicUrl), 'To mirror this farm')}
        <p>
          <code>bandersnatch mirror</code> fetches all of it the first time, and then what has changed. A
          package that is removed from the farm stays in the mirror, as it does with PyPI, until
          <code>bandersnatch delete NAME</code> removes it. What mirrors read is <code>/pypi/NAME/json</code>,
          with the keys of PyPI’s JSON API; its <code>info</code> has the name, the newest version, and of its
          METADATA the summary, the licence, the links and the requirements.
        </p>`,
    ],
    [
      'own',
      'Can I run a farm of my own?',
      html`<p>
        Yes: it is one program, with everything in it. <code>npm start</code> in a clone of it runs a whole
        farm on one machine; builders can be added on any machine that reaches it. Its README says how.
      </p>`,
    ],
  ];
}

/** What stands in a project's JSON (project-json.ts). */
/** For a farm that isn't at the top of its host: bandersnatch refuses files whose URLs don't begin with /packages. */
function subpathWarning(publicUrl: string | null): Html {
  const path = publicUrl === null ? '/' : new URL(publicUrl).pathname;
  if (path === '/') return html``;
  return html`<p>
    <strong>It can’t mirror this address:</strong> bandersnatch takes files only from
    <code>/packages/</code> at the top of a host, and this farm is below <code>${path}</code>.
  </p>`;
}

const JSON_KEYS: readonly (readonly [string, string])[] = [
  [
    '_last-serial',
    'grows with each change; of two states of a project, the one with the higher serial is newer',
  ],
  ['package', 'the name, normalised'],
  ['description', 'one line, or null'],
  [
    'metadata',
    'what the METADATA of the newest wheel says: version (of that wheel), summary, license, links (label, url), requires_dist; or null',
  ],
  ['status', 'active, archived, deprecated or quarantined; of a quarantined project no file is listed'],
  ['skipped', 'why none of it is built, or null'],
  ['downloads', 'all, last_30_days'],
  ['simple', 'the address of its page in the simple index'],
  ['versions', 'the newest first; each as follows'],
  ['versions[].version, released, prerelease', 'as the index has them'],
  ['versions[].yanked', 'false, true, or the reason'],
  ['versions[].skipped', 'why this version is not built, or null'],
  ['versions[].has_source, requires_python', 'what decides whether it can be built, and for what'],
  [
    'versions[].targets[]',
    'abi, platform, state (built, failed, building, waiting, none), failure (class; why: the advice for that class; reason: what went wrong in this build, or null), remark (what is unusual about a success, or null), retried_after, log, filename (of the file that serves it)',
  ],
  [
    'versions[].files[]',
    'filename, url, size, sha256, uploaded, requires_python, yanked, serves (abi, platform), needs (apt: packages; other: libraries), downloads',
  ],
  [
    'versions[].files[].remark, imported, build',
    'what is unusual about it, or null; whether it was imported instead of built here; build (ended, seconds, slave, log), or null',
  ],
  [
    'versions[].files[].provenance',
    'what it was built from and with: source (filename and sha256 of the sdist), python, pip, build_requirements (name, version), source_date_epoch; or null',
  ],
];
