import type { Project, ProjectFile, ProjectVersion, VersionOnTarget } from '../../model/project.js';
import { renderPage, commandBlock } from './design.js';
import { failureSentence, reasonSentence } from './failures.js';
import { formatBytes, formatDay, html, raw, type Html } from './html.js';
import { pipInstallCommand, simpleUrl } from './install.js';
import { farmPath, logPath, projectPath } from '../layout.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { PROJECT_ROOT as ROOT, addFiles, totalSize, type OfferedFiles } from './project-files.js';
import { addMatrix } from './project-matrix.js';
import {
  newestMetadata,
  linksSection,
  requirementsSection,
  type NewestMetadata,
} from './project-metadata.js';
import { formatCount } from '../../units.js';

/** Marks where rows are inserted. It can't occur in the page's own texts, because those are escaped. */
const PLACEHOLDER = '<!-- here -->';

/**
 * Adds the page of a project to `output`. Large projects have thousands of cells and files, so their rows are built by
 * string concatenation, with each value escaped where it is inserted, and go straight into the buffer (measured in
 * test/bench).
 */
export function projectHtml(
  project: Project,
  offered: OfferedFiles,
  publicUrl: string | null,
  output: PageBuffer,
): void {
  const { package: name } = project;
  const newest = project.versions.find(({ version, yanked }) => yanked === null && offered.has(version));
  const metadata = newestMetadata(project, offered);
  const description = metadata?.summary ?? project.description;
  const [before = '', between = '', after = ''] = renderPage(
    {
      title: `${name} – piw`,
      description: description ?? `Wheels of ${name}, built from source.`,
      root: ROOT,
      publicUrl,
      path: `${projectPath(name)}/index.html`,
      section: 'packages',
      kind: 'project',
    },
    html`<h1>${name}${newest && html` <span class="version">${newest.version}</span>`}</h1>
      ${description !== null && html`<p class="lead">${description}</p>`} ${statusNotice(project, newest)}
      <div class="two uneven">
        <div>
          ${installSection(project, offered, newest, publicUrl)} ${metadata && requirementsSection(metadata)}
        </div>
        ${facts(project, offered, metadata)}
      </div>
      <section aria-labelledby="versions">
        <h2 id="versions">Versions</h2>
        ${raw(PLACEHOLDER)}
      </section>
      <section aria-labelledby="files">
        <h2 id="files">Files</h2>
        ${raw(PLACEHOLDER)}
      </section>`,
  ).split(PLACEHOLDER);
  output.add(before);
  if (project.versions.length > 0) addMatrix(project, output);
  else output.add('<p class="empty">The index does not list any versions yet.</p>');
  output.add(between);
  if (offered.size > 0) addFiles(project, offered, output);
  else output.add('<p class="empty">This farm has no wheels of this project.</p>');
  output.add(after);
}

/** Returns notices that say whether the newest version is available here and, if not, why. */
function statusNotice(project: Project, newest: ProjectVersion | undefined): Html {
  const notice = (kind: string, text: Html) => html`<p class="notice ${kind}">${text}</p>`;
  const latest = project.versions.find(({ yanked, skip }) => yanked === null && skip === null);
  const abisInState = (wanted: VersionOnTarget['state']) =>
    (latest?.targets ?? []).filter(({ state }) => state === wanted).map(({ abi }) => abi);
  const abis = (wanted: VersionOnTarget['state']) => [...new Set(abisInState(wanted))].join(', ');
  const failed = latest?.targets.find(({ state }) => state === 'failed');
  return html`${project.status === 'quarantined' && notice('failed', html`<b>Quarantined.</b> The index suspects that this project is harmful. Its files are not offered and it is not built until the index lifts the quarantine.`)}
  ${(project.status === 'archived' || project.status === 'deprecated') && notice('waiting', html`<b>This project is ${project.status}.</b> Its maintainers say not to expect new releases. The wheels here stay available.`)}
  ${project.skip !== null && notice('none', html`<b>Not built here:</b> ${project.skip}`)}
  ${
    project.status !== 'quarantined' &&
    project.skip === null &&
    latest &&
    (latest.version === newest?.version
      ? failed &&
        notice(
          'building',
          html`The newest version, ${latest.version}, was built for ${abis('built')} but failed for
            ${abis('failed')}. <a href="#versions">See why.</a>`,
        )
      : failed
        ? notice(
            'failed',
            html`<b>The newest version, ${latest.version}, is not available here.</b>
              ${failed.reason !== null && html`${reasonSentence(failed.reason)} `}${failureSentence(failed.failure_class)}
              ${failed.build_id !== null && logLink(failed.build_id, failed.abi)}`,
          )
        : abisInState('building').length > 0
          ? notice('building', html`The newest version, ${latest.version}, is being built now.`)
          : abisInState('waiting').length > 0
            ? notice(
                'waiting',
                html`The newest version, ${latest.version}, is waiting to be built.
                  <a href="${ROOT}${farmPath}">See the queue.</a>`,
              )
            : !latest.has_sdist &&
              notice(
                'none',
                html`The newest version, ${latest.version}, was published without source, so it can’t be built
                here.`,
              ))
  }`;
}

const logLink = (build: number, abi: string): Html =>
  html`<a href="${ROOT}${logPath(build)}#why">Log for ${abi}</a>`;

function installSection(
  { package: name }: Project,
  offered: OfferedFiles,
  newest: ProjectVersion | undefined,
  publicUrl: string | null,
): Html {
  if (offered.size === 0) return html``;
  const needed = systemDependencies(newest ? (offered.get(newest.version) ?? []) : []);
  return html`<h2>Install</h2>
    ${commandBlock(pipInstallCommand(simpleUrl(publicUrl), name), 'Command that installs the package')}
    ${
      needed.apt.length > 0 &&
      html`<p>Requires these system libraries. On Debian, Ubuntu or Raspberry Pi OS:</p>
        ${commandBlock(`sudo apt install ${needed.apt.join(' ')}`, 'Command that installs the system libraries')}`
    }
    ${needed.others.length > 0 && html`<p class="soft">Also requires these libraries, for which no Debian package is known: ${needed.others.join(', ')}</p>`}
    <p class="soft">For uv and Poetry, see <a href="${ROOT}#use">how to use this farm</a>.</p>`;
}

/** Returns what the files need on the system: Debian packages, and libraries for which no package is known. */
function systemDependencies(files: readonly ProjectFile[]): {
  readonly apt: string[];
  readonly others: string[];
} {
  const packagesFor = (system: string) =>
    [...new Set(files.flatMap(({ dependencies }) => dependencies[system] ?? []))].sort();
  return { apt: packagesFor('apt'), others: packagesFor('') };
}

/** Some projects put the whole text of their licence into the field for its name. */
const MAX_LICENSE_CHARS = 120;
function shortenLicense(license: string): string {
  const line = license.replace(/\s+/g, ' ').trim();
  return line.length <= MAX_LICENSE_CHARS ? line : `${line.slice(0, MAX_LICENSE_CHARS)}…`;
}

/** Returns how many wheels there are, and their total size in bytes. */
function countWheels(offered: OfferedFiles): { readonly wheels: number; readonly size: number } {
  let wheels = 0;
  let size = 0;
  for (const files of offered.values()) {
    wheels += files.length;
    size += totalSize(files);
  }
  return { wheels, size };
}

function facts(project: Project, offered: OfferedFiles, metadata: NewestMetadata | undefined): Html {
  const { wheels, size } = countWheels(offered);
  const [latest] = project.versions;
  const rows: readonly (readonly [string, Html])[] = [
    ['downloads in the last 30 days', html`${formatCount(project.downloads_last_month)}`],
    ['downloads', html`${formatCount(project.downloads)}`],
    ['wheels', html`${formatCount(wheels)}${wheels > 0 && ` (${formatBytes(size)})`}`],
    ['versions', html`${formatCount(project.versions.length)}`],
    [
      'newest release',
      html`${latest === undefined || latest.released === null ? '–' : formatDay(latest.released)}`,
    ],
  ];
  const license = metadata?.license ?? null;
  return html`<div class="aside">
    <dl class="facts">
      ${rows.map(
        ([term, value]) =>
          html`<div>
            <dt>${term}</dt>
            <dd>${value}</dd>
          </div>`,
      )}
      ${
        license !== null &&
        html`<div class="text">
          <dt>licence</dt>
          <dd>${shortenLicense(license)}</dd>
        </div>`
      }
    </dl>
    ${metadata && linksSection(metadata)}
    <p class="soft">
      ${offered.size > 0 && html`<a href="${ROOT}simple/${project.package}/">Simple index</a> · `}<a
        href="json/"
        >This page as JSON</a
      >
    </p>
  </div>`;
}
