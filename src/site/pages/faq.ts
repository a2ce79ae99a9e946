import { bandersnatchConfig } from './bandersnatch.js';
import { renderPage, commandBlock } from './design.js';
import { html, type Html } from './html.js';
import { configurationCards, pipInstallCommand, simpleUrl, trustedHost } from './install.js';
import { faqPath, farmPath, packagesPath } from '../layout.js';

/** A question, its answer, and the id of its section in the page. */
type FaqEntry = readonly [id: string, question: string, answer: Html];

export function faqPage(publicUrl: string | null): string {
  const entries = faqEntries(publicUrl);
  return renderPage(
    {
      title: 'FAQ – piw',
      description: 'What this farm is, how to install from it, and why a package may be missing.',
      root: './',
      publicUrl,
      path: faqPath,
      section: 'faq',
      kind: 'faq',
    },
    html`<h1>Frequently asked questions</h1>
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
          from the source that projects publish, for the platforms that it serves, and offers them as a
          package index. If a project publishes no wheel for your machine, your installer has to compile the
          source: that takes a compiler, libraries and time, and may fail. From here it is just a download.
        </p>
        <p>
          For each ABI and platform that the farm serves, builders take one version after another: requests
          first, then today’s releases, then the backlog. <a href="${farmPath}">The farm’s page</a> shows what
          they are building now.
        </p>`,
    ],
    [
      'safe',
      'Is it safe?',
      html`<p>
          A wheel from here is built from the project’s own source and is as trustworthy as that source;
          nobody has reviewed it. The farm takes care of the rest. It verifies the source against the hash
          that the index published. Each build runs without the builder’s secrets, and its environment is
          thrown away afterwards. Before a wheel is published, the farm opens it, checks its name, version and
          tags, and takes its hash. A published file never changes.
        </p>
        <p>
          Releases that the index has quarantined are not offered. As with any package index, whoever runs
          this one can decide what code you run: use it only if you trust them.
        </p>`,
    ],
    [
      'pip',
      'How do I use it with pip, uv or Poetry?',
      html`${configurationCards(publicUrl)}
        <p>
          <b>pip</b> looks at all indexes that it is configured with, picks the highest version and, of that
          version, the file that fits best. With <code>extra-index-url</code> it keeps using PyPI, and takes a
          wheel from here if PyPI has none for you. With <code>index-url</code> instead, it uses this farm
          alone. The same name can belong to different people on different indexes, so configure only indexes
          that you trust.
        </p>
        <p>
          <b>uv</b> takes a package from the first index that has it, and does not look for other versions
          elsewhere. Set <code>index-strategy = "unsafe-best-match"</code> under <code>[tool.uv]</code> to
          make it consider all indexes, as pip does.
        </p>
        <p>
          <b>Poetry</b> asks primary sources first, and supplemental sources only for what those don’t have.
          That is why the commands above add PyPI as a supplemental source.
        </p>
        ${
          host === undefined
            ? html``
            : html`<p>
                This farm is served over plain HTTP, so anyone on the network between you and it could change
                what you download. That is why pip has to be told to trust <code>${host}</code>. Pin hashes,
                or ask whoever runs the farm to serve it over HTTPS.
              </p>`
        }`,
    ],
    [
      'missing',
      'Why is my package missing?',
      html`<p>Look it up among <a href="${packagesPath}">the packages</a>. Its page shows the reason:</p>
        <ul>
          <li><b>waiting</b>: it is in the queue. New releases come before old ones.</li>
          <li><b>failed</b>: the build failed, and the page says why.</li>
          <li><b>skipped</b>: whoever runs the farm decided not to build it, and gave a reason.</li>
          <li>
            <b>no source</b>: the project published only wheels of that version, so there is nothing to build.
          </li>
          <li><b>other Python</b>: that version does not support this version of Python.</li>
          <li>
            <b>not needed</b>: a wheel that was built for another ABI also works for this one, or is expected
            to.
          </li>
          <li>
            A package that has no page is not on the index that this farm follows, or is not one that the farm
            was told to build.
          </li>
        </ul>`,
    ],
    [
      'failed',
      'Why did a build fail?',
      html`<p>
        The project’s page gives the reason below the version, with a link to the log, which highlights the
        most telling line. Often a system library is missing on the builders, or the code is older than the
        compiler or this version of Python. A failure that may be temporary (an index that can’t be reached, a
        full disk) is retried automatically. Any other failure stays until whoever runs the farm has the
        version built again.
      </p>`,
    ],
    [
      'report',
      'How do I report a problem?',
      html`<p>
        A package that doesn’t build from source here usually doesn’t build elsewhere either: show the project
        the log. The number in front of each line is a link to that line. Report problems with this farm, its
        wheels or its pages to whoever runs it. Include the package, the version, the ABI and the build
        number, which is at the top of the log.
      </p>`,
    ],
    [
      'yanked',
      'What does “yanked” mean?',
      html`<p>
        The project has withdrawn the release, usually because something is wrong with it. The files stay
        available, marked as yanked, for those who have pinned exactly that version (<code>==</code>);
        otherwise installers ignore them. Yanked releases are no longer built here. “Quarantined” is something
        else: the index suspects that the project is harmful, and nothing of it is offered until the index
        lifts the quarantine.
      </p>`,
    ],
    [
      'binary',
      'How do I make sure that nothing is compiled on my machine?',
      html`<p>
          Tell your installer. A package without a wheel is then an error right away, and not after an hour of
          compiling.
        </p>
        ${commandBlock(`${pipInstallCommand(url, 'PACKAGE')} --only-binary :all:`, 'pip, wheels only')}
        ${commandBlock('uv pip install --only-binary :all: PACKAGE\npoetry config installer.only-binary :all:', 'uv and Poetry, wheels only')}`,
    ],
    [
      'hashes',
      'Can I pin hashes?',
      html`<p>
        Yes. The SHA-256 of every file is in the index, on the project’s page and in the JSON, and it never
        changes. The hash of a wheel from here differs from those of the project’s own wheel and of its
        source. Requirements that have to work with both need both hashes:
        <code>pip-compile --generate-hashes</code> records them if it is configured with this index as well as
        PyPI. <code>uv lock</code> and <code>poetry lock</code> record the files of one index, with their
        URLs: those of this index, if it is listed first and has the version.
      </p>`,
    ],
    [
      'json',
      'Is there a JSON API?',
      html`<p>
          There are two, and PyPI’s JSON API for <a href="#mirrors">mirrors</a>. Installers use the simple
          index (<code>${url}</code>), which answers with JSON (API version 1.4) to
          <code>Accept: application/vnd.pypi.simple.v1+json</code>. The content of a project’s page is also
          available to programs:
        </p>
        ${commandBlock(`curl ${project}`, 'Command that fetches a project as JSON')}
        <div class="scroll" tabindex="0" role="region" aria-label="The keys of a project’s JSON">
          <table>
            <thead>
              <tr>
                <th scope="col">key</th>
                <th scope="col">meaning</th>
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
          Times are ISO 8601 in UTC, sizes are in bytes, and unknown values are <code>null</code>. URLs are
          absolute if the farm knows its own address, and otherwise relative to that of the JSON. Keys may be
          added; none is removed or changes its meaning. The farm’s own figures are in
          <a href="statistics.json">statistics.json</a>.
        </p>`,
    ],
    [
      'mirrors',
      'Can I mirror it?',
      html`<p>
          Yes. The simple index has serials, as PyPI’s has (<code>_last-serial</code> in its JSON; piw’s own
          web server also sends <code>X-PyPI-Last-Serial</code>), so a mirror fetches only what has changed.
          Everything is a static file: a mirror of the farm, or a cache between it and many machines, needs
          only a web server.
        </p>
        <p>
          <a href="https://bandersnatch.readthedocs.io/">bandersnatch</a> 6.7 or later mirrors the farm with
          this <code>bandersnatch.conf</code>. Without <code>api-method = simple</code> it requests the list
          of packages by XML-RPC, which the farm does not support.
        </p>
        ${subpathWarning(publicUrl)}
        ${commandBlock(bandersnatchConfig(publicUrl), 'bandersnatch.conf that mirrors this farm')}
        <p>
          <code>bandersnatch mirror</code> fetches everything the first time, and then only what has changed.
          A package that is removed from the farm stays in the mirror, as it does with PyPI, until
          <code>bandersnatch delete NAME</code> removes it. Mirrors read <code>/pypi/NAME/json</code>, which
          has the keys of PyPI’s JSON API. Its <code>info</code> has the name, the newest version and, from
          that version’s METADATA, the summary, the licence, the links and the requirements.
        </p>`,
    ],
    [
      'own',
      'Can I run a farm of my own?',
      html`<p>
        Yes. piw is a single program that includes everything: <code>npm start</code> in a clone of its
        repository runs a whole farm on one machine, and builders can be added on any machine that can reach
        it. Its <code>docs/slaves.md</code> says how.
      </p>`,
    ],
  ];
}

/**
 * Returns a warning if the farm is not at the top of its host: bandersnatch refuses files whose URL paths don't begin
 * with /packages.
 */
function subpathWarning(publicUrl: string | null): Html {
  const path = publicUrl === null ? '/' : new URL(publicUrl).pathname;
  if (path === '/') return html``;
  return html`<p>
    <strong>bandersnatch can’t mirror this address:</strong> it accepts files only below
    <code>/packages/</code> at the top of a host, and this farm is served below <code>${path}</code>.
  </p>`;
}

/** The keys of a project's JSON (project-json.ts) and their meanings. */
const JSON_KEYS: readonly (readonly [string, string])[] = [
  [
    '_last-serial',
    'increases with every change: of two states of a project, the one with the higher serial is newer',
  ],
  ['package', 'the normalised name'],
  ['description', 'one line, or null'],
  [
    'metadata',
    'from the METADATA of the newest wheel: version (of that wheel), summary, license, links (label, url), requires_dist; or null',
  ],
  ['status', 'active, archived, deprecated or quarantined; a quarantined project lists no files'],
  ['skipped', 'why the project is not built, or null'],
  ['downloads', 'all, last_30_days'],
  ['simple', 'the URL of its page in the simple index'],
  ['versions', 'newest first, each with the keys below'],
  ['versions[].version, released, prerelease', 'as in the index'],
  ['versions[].yanked', 'false, true, or the reason'],
  ['versions[].skipped', 'why this version is not built, or null'],
  ['versions[].has_source, requires_python', 'decide whether it can be built, and for which targets'],
  [
    'versions[].targets[]',
    'abi, platform, state (built, failed, building, waiting, none), failure (class; why: the advice for that class; reason: what went wrong in this build, or null), remark (what is unusual about a successful build, or null), retried_after, log, filename (of the file that serves this target)',
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
