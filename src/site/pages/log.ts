import type { BuildRecord } from '../../protocols/oracle.js';
import type { RequeueReason } from '../../protocols/retry.js';
import { renderPage, stateBadge } from './design.js';
import { failureSentence, reasonSentence } from './failures.js';
import { formatBytes, formatDuration, html, timeElement, raw, type Html } from './html.js';
import { logPath } from '../layout.js';
import { isNoise, lineKind, parseLog, type ParsedLog, type LogPart } from './log-lines.js';
import { noStyle, terminalLine, type TerminalStyle } from './terminal.js';
import { formatQuantity } from '../../units.js';

const ROOT = '../../';
/** A browser lays out a block of this many lines only when it comes into view. */
const LINES_PER_BLOCK = 200;

/** A build as GETBUILD returns it, with its id. */
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
  Partial<Pick<BuildRecord, 'requeue_reason'>> & { readonly build_id: number };

/** Why a failure is not final. */
const NOT_FINAL: Readonly<Record<RequeueReason, string>> = {
  retry: 'This failure is not final: the build was returned to the queue.',
  unconfirmed:
    'This failure is not final: most builds on this slave failed, unlike those on other slaves, so another slave was given this build as well.',
};

/** Returns the page of a build's log. Long logs are shortened to a size that browsers show at once. */
export function logHtml(build: Build, publicUrl: string | null): string {
  const { package: name, version, abi, platform, status, failure_class } = build;
  const log = parseLog(build.output, !status, failure_class);
  const imported = status && build.slave === null;
  const rawUrl = `${ROOT}${logPath(build.build_id, 'txt')}`;
  return renderPage(
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
        ${stateBadge(status ? 'built' : 'failed', imported ? 'imported' : undefined)}
        <span>for ${abi} on ${platform}</span>
        ${!imported && html`<span>in ${formatDuration(build.duration_s)}${build.slave !== null && ` by ${build.slave}`}</span>`}
        <span>${timeElement(build.built)}</span>
        <span>build ${build.build_id}</span>
      </p>
      ${!status && failureNotice(log, build)}
      ${build.details.remark !== null && html`<p class="notice building">${reasonSentence(build.details.remark)}</p>`}
      <p class="soft">
        ${formatQuantity(log.count, 'line')}, ${formatBytes(build.output.length)}.
        <a href="${rawUrl}">The full log as text</a
        >${log.parts.length > 1 && '; this page leaves out parts of it'}
      </p>
      ${log.count === 0 ? html`<p class="empty">${imported ? 'This wheel was not built here, so there is no log.' : 'The build printed nothing.'}</p>` : raw(`<div class="lines">${renderLines(log, rawUrl)}</div>`)}`,
  );
}

/** Returns the notice at the top: why the build failed, what to do, and where to look. */
function failureNotice(
  { failing, builderReason, count }: ParsedLog,
  { details, failure_class, requeue_reason = null }: Build,
): Html {
  // Builds from before reasons were stored have it in the last line of their log.
  const reason = details.reason ?? builderReason;
  return html`<div class="notice failed">
    ${reason !== undefined && html`<p><b>${reasonSentence(reason)}</b></p>`}
    <p>${failureSentence(failure_class)}</p>
    ${requeue_reason !== null && html`<p>${NOT_FINAL[requeue_reason]}</p>`}
    ${failing !== undefined && count > 0 && html`<p>The most telling line is <a href="#why">line ${failing}</a>.</p>`}
  </div>`;
}

function renderLines({ parts, count, failing }: ParsedLog, rawUrl: string): string {
  const style = noStyle();
  let [out, next] = ['', 1];
  for (const part of parts) {
    out += omittedLines(next, part.first, rawUrl) + renderBlocks(part, failing, style);
    next = part.first + part.lines.length;
  }
  return out + omittedLines(next, count + 1, rawUrl);
}

const omittedLines = (next: number, first: number, rawUrl: string): string =>
  next >= first
    ? ''
    : `<p class="gap">Lines ${next} to ${first - 1} are only in <a href="${rawUrl}">the full log</a>.</p>`;

function renderBlocks(
  { first, lines: partLines }: LogPart,
  failing: number | undefined,
  style: TerminalStyle,
): string {
  let out = '';
  for (let from = 0; from < partLines.length; from += LINES_PER_BLOCK) {
    out += '<div class="block">';
    const to = Math.min(from + LINES_PER_BLOCK, partLines.length);
    for (let i = from; i < to;) {
      const end = noiseEnd(partLines, i, to, failing === undefined ? -1 : failing - first);
      let rows = '';
      const begin = i;
      for (; i < Math.max(end, begin + 1); i += 1)
        rows += renderLine(first + i, partLines[i] ?? '', failing === first + i, style);
      out += end === begin ? rows : foldNoise(end - begin, rows);
    }
    out += '</div>\n';
  }
  return out;
}

/** Returns the index after the run of noise lines that begins at `from`; `from` itself if that line is not noise. */
function noiseEnd(lines: readonly string[], from: number, to: number, failing: number): number {
  let end = from;
  while (end < to && end !== failing && isNoise(lines[end] ?? '')) end += 1;
  return end;
}

const foldNoise = (count: number, rows: string): string =>
  `<details class="noise"><summary>${formatQuantity(count, 'line')} of pip’s own output</summary>${rows}</details>`;

/** The slave's folder for this build, which means nothing to a reader. */
const BUILD_FOLDER = /\/build-\d+-\d+-\w{6}(?![\w-])/;
const BUILD_FOLDER_PATH = new RegExp(`(?:/[^\\s/:;,="'()]+)*${BUILD_FOLDER.source}`, 'g');
const shortenPaths = (line: string): string =>
  BUILD_FOLDER.test(line) ? line.replace(BUILD_FOLDER_PATH, '/build') : line;

function renderLine(number: number, line: string, isFailing: boolean, style: TerminalStyle): string {
  const n = String(number);
  const lineHtml = terminalLine(shortenPaths(line), style);
  const kind = lineKind(line);
  const kinds = isFailing ? ' class="failing"' : kind === undefined ? '' : ` class="${kind}"`;
  const text = isFailing ? `<mark id="why">${lineHtml}</mark>` : lineHtml;
  return `<div id="L${n}"${kinds}><a href="#L${n}">${n}</a>${text === '' ? '<br>' : text}</div>`;
}
