import type { Project, ProjectVersion, VersionOnTarget } from '../../model/project.js';
import { parseTarget, pythonVersionOf } from '../../wheels/tags.js';
import { admits } from '../../wheels/versions.js';
import { STATE_LABELS } from './design.js';
import { failureSentence, reasonSentence } from './failures.js';
import { formatDay, escape } from './html.js';
import { logPath } from '../layout.js';
import type { PageBuffer } from '../../files/page-buffer.js';
import { VISIBLE_VERSIONS, PROJECT_ROOT as ROOT, isImported } from './project-files.js';
import { formatQuantity } from '../../units.js';

interface Column {
  readonly abi: string;
  readonly platform: string;
}

interface Columns {
  readonly columns: readonly Column[];
  /** The index of each column by `abi platform`. */
  readonly columnIndexes: ReadonlyMap<string, number>;
}

/** Returns a column for each target of any version, in the order in which they first occur. */
function columnsOf({ versions }: Project): Columns {
  const columns: Column[] = [];
  const columnIndexes = new Map<string, number>();
  for (const { targets } of versions)
    for (const [i, { abi, platform }] of targets.entries()) {
      // Most versions have the same targets as the one before.
      const column = columns[i];
      if (column?.abi === abi && column.platform === platform) continue;
      const key = `${abi} ${platform}`;
      if (columnIndexes.has(key)) continue;
      columnIndexes.set(key, columns.length);
      columns.push({ abi, platform });
    }
  return { columns, columnIndexes };
}

/** Adds a table of versions and targets, and below each version the reasons why wheels are missing. */
export function addMatrix(project: Project, page: PageBuffer): void {
  const { columns, columnIndexes } = columnsOf(project);
  const imported = new Set(project.files.filter(isImported).map(({ filename }) => filename));
  const platforms = new Set(columns.map(({ platform }) => platform));
  const header = columns
    .map(
      ({ abi, platform }) =>
        `<th scope="col">${escape(abi)}${platforms.size > 1 ? `<small>${escape(platform)}</small>` : ''}</th>`,
    )
    .join('');
  const table = (versions: readonly ProjectVersion[], label: string): void => {
    page.add(
      `<div class="scroll" tabindex="0" role="region" aria-label="${label}"><table class="matrix"><thead><tr><th scope="col">version</th><th scope="col">released</th>${header}</tr></thead><tbody>\n`,
    );
    for (const version of versions) page.add(versionRow(project, version, columns, columnIndexes, imported));
    page.add('</tbody></table></div>');
  };
  if (platforms.size === 1 && columns[0])
    page.add(`<p class="soft">All targets are on ${escape(columns[0].platform)}.</p>`);
  table(project.versions.slice(0, VISIBLE_VERSIONS), 'Versions and their targets');
  const older = project.versions.slice(VISIBLE_VERSIONS);
  if (older.length === 0) return;
  page.add(`<details class="older"><summary>${formatQuantity(older.length, 'older version')}</summary>`);
  table(older, 'Older versions and their targets');
  page.add('</details>');
}

function versionRow(
  project: Project,
  version: ProjectVersion,
  columns: readonly Column[],
  columnIndexes: ReadonlyMap<string, number>,
  imported: ReadonlySet<string>,
): string {
  const { targets, yanked, skip, has_sdist, released } = version;
  let cells = '';
  let columnIndex = 0;
  let explanation = '';
  for (const target of targets) {
    // Targets come in the order of the columns. A missing target leaves its cell empty.
    const column = columns[columnIndex];
    if (column?.abi !== target.abi || column.platform !== target.platform) {
      const targetIndex = columnIndexes.get(`${target.abi} ${target.platform}`) ?? columnIndex;
      for (; columnIndex < targetIndex; columnIndex += 1) cells += '<td></td>';
    }
    columnIndex += 1;
    cells += cell(project, version, target, imported);
    if (target.failure_class !== null && (target.state === 'failed' || target.held_until !== null))
      explanation ||= failureReasons(targets);
  }
  for (; columnIndex < columns.length; columnIndex += 1) cells += '<td></td>';
  const isBuilt = targets.some(({ state }) => state === 'built');
  let badges = '';
  if (yanked !== null) {
    badges += '<b class="badge failed">yanked</b>';
    if (yanked !== '') explanation = `Yanked: ${escape(yanked)}<br>${explanation}`;
  }
  if (skip !== null) {
    badges += '<b class="badge none">skipped</b>';
    explanation = `Not built${isBuilt ? ' again' : ''} because it is skipped: ${escape(skip)}<br>${explanation}`;
  } else if (!has_sdist && !isBuilt) {
    badges += '<b class="badge none">no source</b>';
    explanation = `Not built because it was published without source.<br>${explanation}`;
  }
  const row = `<tr><th scope="row">${escape(version.version)}${badges}</th><td class="n">${released === null ? '' : formatDay(released)}</td>${cells}</tr>\n`;
  return explanation === ''
    ? row
    : `${row}<tr class="why"><td colspan="${columns.length + 2}"><div>${explanation.replace(/<br>$/, '')}</div></td></tr>\n`;
}

function cell(
  project: Project,
  version: ProjectVersion,
  { state, build_id, abi, platform, filename }: VersionOnTarget,
  imported: ReadonlySet<string>,
): string {
  if (state === 'built' && filename !== null && imported.size > 0 && imported.has(filename))
    return `<td class="built">imported</td>`;
  const label = state === 'none' ? notBuiltLabel(project, version, abi, platform) : STATE_LABELS[state];
  if (build_id === null) return `<td class="${state}">${label}</td>`;
  return `<td class="${state}"><a href="${ROOT}${logPath(build_id)}${state === 'failed' ? '#why' : ''}">${label}</a></td>`;
}

/** Returns the reason in a word or two why a version is not built for a target. */
function notBuiltLabel(project: Project, version: ProjectVersion, abi: string, platform: string): string {
  if (version.skip !== null || project.skip !== null) return 'skipped';
  if (version.yanked !== null) return 'yanked';
  if (!version.has_sdist)
    return version.targets.some(({ state }) => state === 'built') ? 'no wheel' : 'no source';
  if (version.requires_python !== null && !supportsTarget(version.requires_python, abi, platform))
    return 'other Python';
  return STATE_LABELS.none;
}

/** Results by ABI and requires-python: projects use the same few specifiers for all their versions. */
const supportCache = new Map<string, boolean>();

function supportsTarget(specifier: string, abi: string, platform: string): boolean {
  const key = `${abi} ${specifier}`;
  const cached = supportCache.get(key);
  if (cached !== undefined) return cached;
  if (supportCache.size > 5000) supportCache.clear();
  const supported = admits(specifier, pythonVersionOf(parseTarget(abi, platform)));
  supportCache.set(key, supported);
  return supported;
}

/** Returns why builds failed. Targets with the same reason share a sentence; each has a link to its log. */
function failureReasons(targets: readonly VersionOnTarget[]): string {
  const groups = new Map<string, VersionOnTarget[]>();
  for (const target of targets) {
    if (target.failure_class === null || (target.state !== 'failed' && target.held_until === null)) continue;
    const key = JSON.stringify([target.failure_class, target.reason]);
    const group = groups.get(key);
    if (group) group.push(target);
    else groups.set(key, [target]);
  }
  return [...groups.values()]
    .map((group) => {
      const { failure_class = null, reason = null } = group[0] ?? {};
      const reasonText = reason === null ? '' : `${escape(reasonSentence(reason))} `;
      const logs = group
        .filter(({ build_id }) => build_id !== null)
        .map(
          ({ build_id, abi }) => `<a href="${ROOT}${logPath(build_id ?? 0)}#why">Log for ${escape(abi)}</a>`,
        );
      const retryAt = Math.max(...group.map(({ held_until }) => held_until ?? 0));
      const retryText =
        retryAt === 0
          ? ''
          : ` It will be retried after ${new Date(retryAt).toISOString().slice(11, 16)} UTC.`;
      return `<b>${group.map(({ abi }) => escape(abi)).join(', ')}</b> ${reasonText}${escape(failureSentence(failure_class))}${retryText} ${logs.join(' ')}`;
    })
    .join('<br>');
}
