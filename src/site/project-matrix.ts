import type { Project, ProjectVersion, VersionOnTarget } from '../protocols/oracle.js';
import { parseTarget, pythonOf } from '../wheels/tags.js';
import { admits } from '../wheels/versions.js';
import { STATES } from './design.js';
import { failureSentence, reasonSentence } from './failures.js';
import { countOf, day, escape } from './html.js';
import { logPath } from './layout.js';
import type { PageBuffer } from './page-buffer.js';
import { AT_ONCE, PROJECT_ROOT as ROOT, isImported } from './project-files.js';

interface Column {
  readonly abi: string;
  readonly platform: string;
}

/** Adds versions × targets, and under each version why something isn't there. */
export function addMatrix(project: Project, page: PageBuffer): void {
  const columns: Column[] = [];
  const places = new Map<string, number>();
  for (const { targets } of project.versions)
    for (const { abi, platform } of targets) {
      const key = `${abi} ${platform}`;
      if (places.has(key)) continue;
      places.set(key, columns.length);
      columns.push({ abi, platform });
    }
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
    for (const version of versions) page.add(versionRow(project, version, columns, places, imported));
    page.add('</tbody></table></div>');
  };
  if (platforms.size === 1 && columns[0])
    page.add(`<p class="soft">All for ${escape(columns[0].platform)}.</p>`);
  table(project.versions.slice(0, AT_ONCE), 'Versions and what they are built for');
  const older = project.versions.slice(AT_ONCE);
  if (older.length === 0) return;
  page.add(`<details class="older"><summary>${countOf(older.length, 'older version')}</summary>`);
  table(older, 'Older versions and what they are built for');
  page.add('</details>');
}

function versionRow(
  project: Project,
  version: ProjectVersion,
  columns: readonly Column[],
  places: ReadonlyMap<string, number>,
  imported: ReadonlySet<string>,
): string {
  const { targets, yanked, skip, has_sdist, released } = version;
  let cells = '';
  let place = 0;
  let why = '';
  for (const target of targets) {
    // They come in the order of the columns; one that isn't there is an empty cell.
    const column = columns[place];
    if (column?.abi !== target.abi || column.platform !== target.platform) {
      const its = places.get(`${target.abi} ${target.platform}`) ?? place;
      for (; place < its; place += 1) cells += '<td></td>';
    }
    place += 1;
    cells += cell(project, version, target, imported);
    if (target.failure_class !== null && (target.state === 'failed' || target.held_until !== null))
      why ||= reasons(targets);
  }
  for (; place < columns.length; place += 1) cells += '<td></td>';
  const here = targets.some(({ state }) => state === 'built');
  let marks = '';
  if (yanked !== null) {
    marks += '<b class="badge failed">yanked</b>';
    if (yanked !== '') why = `Yanked: ${escape(yanked)}<br>${why}`;
  }
  if (skip !== null) {
    marks += '<b class="badge none">skipped</b>';
    why = `Not built${here ? ' again' : ''} because it is skipped: ${escape(skip)}<br>${why}`;
  } else if (!has_sdist && !here) {
    marks += '<b class="badge none">no source</b>';
    why = `Not built because it was published without source.<br>${why}`;
  }
  const row = `<tr><th scope="row">${escape(version.version)}${marks}</th><td class="n">${released === null ? '' : day(released)}</td>${cells}</tr>\n`;
  return why === ''
    ? row
    : `${row}<tr class="why"><td colspan="${String(columns.length + 2)}"><div>${why.replace(/<br>$/, '')}</div></td></tr>\n`;
}

function cell(
  project: Project,
  version: ProjectVersion,
  { state, build_id, abi, platform, filename }: VersionOnTarget,
  imported: ReadonlySet<string>,
): string {
  if (state === 'built' && filename !== null && imported.has(filename))
    return `<td class="built">imported</td>`;
  const words = state === 'none' ? notBuilt(project, version, abi, platform) : STATES[state];
  if (build_id === null) return `<td class="${state}">${words}</td>`;
  return `<td class="${state}"><a href="${ROOT}${logPath(build_id)}${state === 'failed' ? '#why' : ''}">${words}</a></td>`;
}

/** Why nothing is to be built of a version for a target. */
function notBuilt(project: Project, version: ProjectVersion, abi: string, platform: string): string {
  if (version.skip !== null || project.skip !== null) return 'skipped';
  if (version.yanked !== null) return 'yanked';
  if (!version.has_sdist)
    return version.targets.some(({ state }) => state === 'built') ? 'no wheel' : 'no source';
  if (version.requires_python !== null && !isFor(version.requires_python, abi, platform))
    return 'other Python';
  return STATES.none;
}

/** What was found out about requires-python and a target: projects repeat a few of them for all their versions. */
const known = new Map<string, boolean>();

function isFor(specifier: string, abi: string, platform: string): boolean {
  const key = `${abi} ${specifier}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  if (known.size > 5000) known.clear();
  const answer = admits(specifier, pythonOf(parseTarget(abi, platform)));
  known.set(key, answer);
  return answer;
}

/** Why builds failed: targets with the same reason together, each with its log. */
function reasons(targets: readonly VersionOnTarget[]): string {
  const classes = new Map<string, VersionOnTarget[]>();
  for (const target of targets) {
    if (target.failure_class === null || (target.state !== 'failed' && target.held_until === null)) continue;
    const key = JSON.stringify([target.failure_class, target.reason]);
    const alike = classes.get(key);
    if (alike) alike.push(target);
    else classes.set(key, [target]);
  }
  return [...classes.values()]
    .map((alike) => {
      const { failure_class = null, reason = null } = alike[0] ?? {};
      const said = reason === null ? '' : `${escape(reasonSentence(reason))} `;
      const logs = alike
        .filter(({ build_id }) => build_id !== null)
        .map(
          ({ build_id, abi }) => `<a href="${ROOT}${logPath(build_id ?? 0)}#why">Log of ${escape(abi)}</a>`,
        );
      const held = Math.max(...alike.map(({ held_until }) => held_until ?? 0));
      const again =
        held === 0 ? '' : ` It is tried again after ${new Date(held).toISOString().slice(11, 16)} UTC.`;
      return `<b>${alike.map(({ abi }) => escape(abi)).join(', ')}</b> ${said}${escape(failureSentence(failure_class))}${again} ${logs.join(' ')}`;
    })
    .join('<br>');
}
