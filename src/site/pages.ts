import type { Project, ProjectVersion, VersionOnTarget } from '../protocols/oracle.js';
import type { Statistics } from '../protocols/statistics.js';
import { page } from './design.js';
import { bytes, count, day, html, type Html } from './html.js';
import { logPath } from './layout.js';

/**
 * The line that installs from this farm. pip needs to be told to trust an index that speaks plain
 * http, unless it is on this machine.
 */
export function pipLine(indexUrl: string, requirement: string): string {
  const url = new URL(indexUrl);
  const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
  const trusted = url.protocol === 'http:' && !loopback ? ` --trusted-host ${url.hostname}` : '';
  return `pip install --index-url ${indexUrl}${trusted} ${requirement}`;
}

const simpleUrl = (publicUrl: string | null): string =>
  `${(publicUrl ?? 'https://this-farm.example').replace(/\/$/, '')}/simple/`;

export function homePage(statistics: Statistics, publicUrl: string | null): string {
  const figures: readonly (readonly [string, string])[] = [
    ['packages', count(statistics.packages)],
    ['versions', count(statistics.versions)],
    ['wheels', count(statistics.files)],
    ['size of the wheels', bytes(statistics.files_bytes)],
    ['builds', count(statistics.builds)],
    ['of them failed', count(statistics.builds_failed)],
    ['builds in the last hour', count(statistics.builds_last_hour)],
    ['downloads in 30 days', count(statistics.downloads_last_month)],
  ];
  const index = simpleUrl(publicUrl);
  const queue = statistics.queue.map(
    ([abi, platform, waiting]) =>
      html`<tr>
        <td>${abi}</td>
        <td>${platform}</td>
        <td>${count(waiting)}</td>
      </tr>`,
  );
  return page(
    'piw: wheels built from source',
    './',
    html`<h1>Python wheels, built from source</h1>
      <p>
        This farm builds wheels from the source that projects publish, and offers them as an index that pip,
        uv and Poetry install from.
      </p>
      <dl class="figures">
        ${figures.map(
          ([name, value]) =>
            html`<div>
              <dt>${name}</dt>
              <dd>${value}</dd>
            </div>`,
        )}
      </dl>
      <h2>Use it</h2>
      <p>Once:</p>
      <pre><code>${pipLine(index, 'PACKAGE')}</code></pre>
      <p>Always, with pip:</p>
      <pre><code>pip config set global.extra-index-url ${index}</code></pre>
      <p>With uv, in <code>pyproject.toml</code>:</p>
      <pre><code>[[tool.uv.index]]
name = "piw"
url = "${index}"</code></pre>
      <p>With Poetry:</p>
      <pre><code>poetry source add --priority=supplemental piw ${index}</code></pre>
      <h2>Waiting to be built</h2>
      ${
        queue.length === 0
          ? html`<p class="soft">Nothing is built for any target yet.</p>`
          : html`<div class="scroll">
              <table>
                <thead>
                  <tr>
                    <th>ABI</th>
                    <th>Platform</th>
                    <th>Builds</th>
                  </tr>
                </thead>
                <tbody>
                  ${queue}
                </tbody>
              </table>
            </div>`
      }`,
  );
}

export const statisticsJson = (statistics: Statistics): string => JSON.stringify(statistics);

const STATES: Readonly<Record<VersionOnTarget['state'], string>> = {
  built: 'built',
  failed: 'failed',
  building: 'being built',
  waiting: 'waiting',
  none: 'not needed',
};

export function projectPage(project: Project, publicUrl: string | null): string {
  const targets = [
    ...new Set(
      project.versions.flatMap(({ targets: on }) => on.map(({ abi, platform }) => `${abi} ${platform}`)),
    ),
  ];
  const install = project.files.length > 0 && project.status !== 'quarantined';
  return page(
    `${project.package} – piw`,
    '../../',
    html`<h1>${project.package}</h1>
      ${project.description !== null && html`<p>${project.description}</p>`}
      ${project.status !== 'active' && html`<p class="notice">This project is ${project.status}.</p>`}
      ${project.skip !== null && html`<p class="notice">It is not built here: ${project.skip}</p>`}
      ${install ? html`<pre><code>${pipLine(simpleUrl(publicUrl), project.package)}</code></pre>` : html`<p class="soft">There is no wheel of it yet.</p>`}
      <h2>Versions</h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>Version</th>
              <th>Released</th>
              ${targets.map((target) => html`<th>${target}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${project.versions.map((version) => versionRow(version))}
          </tbody>
        </table>
      </div>
      ${files(project)}
      <p class="soft"><a href="json/">The same as JSON</a></p>`,
  );
}

function versionRow(version: ProjectVersion): Html {
  const marks = [
    version.yanked !== null &&
      html` <span class="failed">yanked${version.yanked === '' ? '' : `: ${version.yanked}`}</span>`,
    version.skip !== null && html` <span class="none">skipped: ${version.skip}</span>`,
    !version.has_sdist && html` <span class="none">no source</span>`,
  ].filter((mark): mark is Html => mark !== false);
  return html`<tr>
    <td>${version.version}${marks}</td>
    <td>${version.released === null ? '' : day(version.released)}</td>
    ${version.targets.map(state)}
  </tr>`;
}

function state({ state: its, build_id, failure_class, held_until }: VersionOnTarget): Html {
  const failed = failure_class !== null && (its === 'failed' || held_until !== null);
  const words = failed
    ? `${STATES[its]} (${its === 'failed' ? '' : 'again after '}${failure_class})`
    : STATES[its];
  const log = build_id !== null && html` <a href="../../${logPath(build_id, 'txt')}">log</a>`;
  return html`<td><span class="state ${its}">${words}</span>${log}</td>`;
}

function files({ files: all, package: name, status }: Project): Html {
  if (all.length === 0 || status === 'quarantined') return html``;
  const rows = all.map(
    (file) =>
      html`<tr>
        <td>
          <a href="../../simple/${name}/${encodeURIComponent(file.filename)}">${file.filename}</a><br /><span
            class="hash"
            >sha256 ${file.sha256}</span
          >
        </td>
        <td>${bytes(file.filesize)}</td>
        <td>${day(file.uploaded)}</td>
        <td>${file.requires_python ?? ''}</td>
        <td>${(file.dependencies['apt'] ?? []).join(' ')}</td>
      </tr>`,
  );
  return html`<h2>Files</h2>
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>File</th>
            <th>Size</th>
            <th>Built</th>
            <th>Python</th>
            <th>Needs</th>
          </tr>
        </thead>
        <tbody>
          ${rows}
        </tbody>
      </table>
    </div>`;
}

export const projectJson = (project: Project): string => JSON.stringify(project);

export function notFoundPage(): string {
  return page(
    'Not here – piw',
    '/',
    html`<h1>There is nothing at this address</h1>
      <p>The <a href="/simple/">index</a> names every package that has a wheel here.</p>`,
  );
}
