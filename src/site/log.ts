import type { BuildRecord } from '../protocols/oracle.js';
import type { PutBack } from '../protocols/retry.js';
import { page, stateOf } from './design.js';
import { failureSentence, reasonSentence } from './failures.js';
import { countOf, bytes, duration, html, moment, raw, type Html } from './html.js';
import { logPath } from './layout.js';
import { isNoise, lineKind, readLog, type Log, type Part } from './log-lines.js';
import { noStyle, terminalLine, type Style } from './terminal.js';

const ROOT = '../../';
/** Lines are put into blocks of so many, which a browser lays out only when they come into view. */
const BLOCK = 200;

/** A build, as GETBUILD tells of it, with its number. */
export type Build = Pick<
  BuildRecord,
  | 'package'
  | 'version'
  | 'abi'
  | 'platform'
  | 'status'
  | 'failure_class'
  | 'built'
  | 'duration_s'
  | 'output'
  | 'details'
  | 'slave'
> &
  Partial<Pick<BuildRecord, 'put_back'>> & { readonly build_id: number };

/** Why a failure is not the last word. */
const NOT_FINAL: Readonly<Record<PutBack, string>> = {
  retry: 'This failure is not final: the build was put back into the queue.',
  unconfirmed:
    'This failure is not final: most builds of this slave failed, unlike those of others, and so another slave was given the build, too.',
};

/** The page of a build's log. However long the log, the page is of a size that a browser shows at once. */
export function logHtml(build: Build, publicUrl: string | null): string {
  const { package: name, version, abi, platform, status, failure_class } = build;
  const log = readLog(build.output, !status, failure_class);
  const imported = status && build.slave === null;
  const raws = `${ROOT}${logPath(build.build_id, 'txt')}`;
  return page(
    {
      title: `Log of ${name} ${version} for ${abi} – piw`,
      description: `${name} ${version} for ${abi} on ${platform}: ${!status ? 'failed' : imported ? 'imported' : 'built'}.`,
      root: ROOT,
      publicUrl,
      path: logPath(build.build_id),
      kind: 'log',
    },
    html`<h1><a href="${ROOT}project/${name}/">${name}</a> <span class="version">${version}</span></h1>
      <p class="meta">
        ${stateOf(status ? 'built' : 'failed', imported ? 'imported' : undefined)}
        <span>for ${abi} on ${platform}</span>
        ${!imported && html`<span>in ${duration(build.duration_s)}${build.slave !== null && ` by ${build.slave}`}</span>`}
        <span>${moment(build.built)}</span>
        <span>build ${build.build_id}</span>
      </p>
      ${!status && why(log, build)}
      ${build.details.remark !== null && html`<p class="notice building">${reasonSentence(build.details.remark)}</p>`}
      <p class="soft">
        ${countOf(log.count, 'line')}, ${bytes(build.output.length)}.
        <a href="${raws}">The whole log as text</a
        >${log.parts.length > 1 && '; this page leaves out the middle of it'}
      </p>
      ${log.count === 0 ? html`<p class="empty">${imported ? 'It was not built here, so there is no log.' : 'It said nothing.'}</p>` : raw(`<div class="lines">${lines(log, raws)}</div>`)}`,
  );
}

/** On top: why it failed, what to do, and where to look. */
function why({ failing, lastWord, count }: Log, { details, failure_class, put_back = null }: Build): Html {
  // Builds from before the reason was kept say it in their last line.
  const reason = details.reason ?? lastWord;
  return html`<div class="notice failed">
    ${reason !== undefined && html`<p><b>${reasonSentence(reason)}</b></p>`}
    <p>${failureSentence(failure_class)}</p>
    ${put_back !== null && html`<p>${NOT_FINAL[put_back]}</p>`}
    ${failing !== undefined && count > 0 && html`<p><a href="#why">Go to line ${failing}</a>, which tells most of it.</p>`}
  </div>`;
}

function lines({ parts, count, failing }: Log, raws: string): string {
  const style = noStyle();
  let [out, next] = ['', 1];
  for (const part of parts) {
    out += gap(next, part.first, raws) + blocks(part, failing, style);
    next = part.first + part.lines.length;
  }
  return out + gap(next, count + 1, raws);
}

const gap = (next: number, first: number, raws: string): string =>
  next >= first
    ? ''
    : `<p class="gap">Lines ${String(next)} to ${String(first - 1)} are only in <a href="${raws}">the whole log</a>.</p>`;

function blocks({ first, lines: all }: Part, failing: number | undefined, style: Style): string {
  let out = '';
  for (let from = 0; from < all.length; from += BLOCK) {
    out += '<div class="block">';
    const to = Math.min(from + BLOCK, all.length);
    for (let i = from; i < to;) {
      const end = noiseEnd(all, i, to, failing === undefined ? -1 : failing - first);
      let rows = '';
      const begin = i;
      for (; i < Math.max(end, begin + 1); i += 1)
        rows += row(first + i, all[i] ?? '', failing === first + i, style);
      out += end === begin ? rows : folded(end - begin, rows);
    }
    out += '</div>\n';
  }
  return out;
}

/** Where the lines of noise that begin at `from` end; at `from` itself if that isn't one. */
function noiseEnd(lines: readonly string[], from: number, to: number, failing: number): number {
  let end = from;
  while (end < to && end !== failing && isNoise(lines[end] ?? '')) end += 1;
  return end;
}

const folded = (count: number, rows: string): string =>
  `<details class="noise"><summary>${countOf(count, 'line')} of pip’s own</summary>${rows}</details>`;

/** The slave's own folder of this build, which tells a reader nothing. */
const BUILD_FOLDER = /\/build-\d+-\d+-\w{6}(?![\w-])/;
const WITH_PARENTS = new RegExp(`(?:/[^\\s/:;,="'()]+)*${BUILD_FOLDER.source}`, 'g');
const shortPaths = (line: string): string =>
  BUILD_FOLDER.test(line) ? line.replace(WITH_PARENTS, '/build') : line;

function row(number: number, line: string, fails: boolean, style: Style): string {
  const n = String(number);
  const shown = terminalLine(shortPaths(line), style);
  const kind = lineKind(line);
  const kinds = fails ? ' class="failing"' : kind === undefined ? '' : ` class="${kind}"`;
  const text = fails ? `<mark id="why">${shown}</mark>` : shown;
  return `<div id="L${n}"${kinds}><a href="#L${n}">${n}</a>${text === '' ? '<br>' : text}</div>`;
}
