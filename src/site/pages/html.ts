import { DAY_MS, formatCount } from '../../units.js';

/** HTML that is safe to insert into a page as it is. */
export interface Html {
  readonly html: string;
}

type HtmlValue = Html | string | number | null | undefined | false | readonly Html[];

/** Returns HTML from a template. Values that are not Html are escaped, also for quoted attributes. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return { html: strings.reduce((text, part, i) => text + render(values[i - 1]) + part) };
}

/** Marks text as HTML that is already escaped. Pages with thousands of cells are built from strings, for speed. */
export const raw = (text: string): Html => ({ html: text });

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number') return String(value);
  return 'html' in value ? value.html : value.map((item) => item.html).join('');
}

const NEEDS_ESCAPE = /[&<>"']/;

/**
 * Escapes text for HTML, between tags or in a quoted attribute. Text without special characters is not copied. Measured:
 * for texts such as `>=3.9`, which are on every line of a page, the loop is five times as fast as replaceAll().
 */
export function escape(text: string): string {
  if (!NEEDS_ESCAPE.test(text)) return text;
  let escaped = '';
  let copied = 0;
  for (let at = 0; at < text.length; at += 1) {
    const entity = entityOf(text.charCodeAt(at));
    if (entity === undefined) continue;
    escaped += text.slice(copied, at) + entity;
    copied = at + 1;
  }
  return escaped + text.slice(copied);
}

function entityOf(charCode: number): string | undefined {
  switch (charCode) {
    case 0x22:
      return '&quot;';
    case 0x26:
      return '&amp;';
    case 0x27:
      return '&#39;';
    case 0x3c:
      return '&lt;';
    case 0x3e:
      return '&gt;';
    default:
      return undefined;
  }
}

const BYTE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** Formats bytes, e.g. `1.4 MB`. */
export function formatBytes(count: number): string {
  let value = count;
  let unit = 0;
  // 999.5 and more would be rounded to 1000 of the smaller unit.
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const number = value < 9.95 && unit > 0 ? oneDecimal(value) : wholeNumber(value);
  return `${number} ${BYTE_UNITS[unit] ?? ''}`;
}

/**
 * Formats a number like toFixed(), which takes half a microsecond. Only a value in the middle between two results is
 * left to toFixed(), because it looks at digits that a multiplication rounds away.
 */
function oneDecimal(value: number): string {
  const tenths = Math.round(value * 10);
  return Math.abs(value * 10 - tenths) > 0.499 ? value.toFixed(1) : (DECIMALS[tenths] ?? value.toFixed(1));
}

/** The numbers from `0.0` to `10.0`. */
const DECIMALS = Array.from({ length: 101 }, (_, n) => (n / 10).toFixed(1));

function wholeNumber(value: number): string {
  const rounded = Math.round(value);
  return Math.abs(value - rounded) > 0.499 ? value.toFixed(0) : String(rounded);
}

/** Formatted days by day number, until 2079: a project's page repeats the same few hundreds of times. */
const dayTexts = new Array<string | undefined>(40_000);

/** Formats milliseconds since 1970 as a day, e.g. `2026-11-21`. */
export function formatDay(ms: number): string {
  const number = Math.floor(ms / DAY_MS);
  const cachedText = dayTexts[number];
  if (cachedText !== undefined) return cachedText;
  const text = new Date(ms).toISOString().slice(0, 10);
  if (number >= 0 && number < dayTexts.length) dayTexts[number] = text;
  return text;
}

const twoDigits = (n: number): string => String(n).padStart(2, '0');
/** The minutes of a day, e.g. `14:05`. */
const MINUTES = Array.from(
  { length: 24 * 60 },
  (_, n) => `${twoDigits(Math.floor(n / 60))}:${twoDigits(n % 60)}`,
);
/** The seconds of a minute, with a colon. */
const SECONDS = Array.from({ length: 60 }, (_, n) => `:${twoDigits(n)}`);

/** Formats the time of day of milliseconds since 1970, e.g. `14:05:09`: five times as fast as toISOString(). */
export function formatTimeOfDay(ms: number): string {
  const second = Math.floor((ms - Math.floor(ms / DAY_MS) * DAY_MS) / 1000);
  const minute = Math.floor(second / 60);
  return `${MINUTES[minute] ?? ''}${SECONDS[second - minute * 60] ?? ''}`;
}

/** Formats seconds, e.g. `45 s`, `12 min`, `3 h 5 min` or `4 days`. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${oneDecimal(seconds)} s`;
  if (seconds < 120) return `${wholeNumber(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${formatCount(Math.round(hours / 24))} days`;
}

/** Returns a time such as `2026-11-21 14:05 UTC`. The page's script replaces it by how long ago that is. */
export function timeElement(ms: number): Html {
  const iso = new Date(ms).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`;
}
