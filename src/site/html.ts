/** A piece of HTML that is safe to put into a page as it stands. */
export interface Html {
  readonly html: string;
}

type HtmlValue = Html | string | number | null | undefined | false | readonly Html[];

/** HTML from a template: whatever isn't Html itself is escaped, also in attributes in quotes. */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return { html: strings.reduce((text, piece, i) => text + render(values[i - 1]) + piece) };
}

/** Text that is HTML already: pages with thousands of cells are put together by hand, for speed. */
export const raw = (text: string): Html => ({ html: text });

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number') return String(value);
  return 'html' in value ? value.html : value.map((one) => one.html).join('');
}

const NEEDS_ESCAPE = /[&<>"']/;

/** Text for HTML, between tags or in an attribute in quotes. Most text has nothing to escape, and costs nothing. */
export function escape(text: string): string {
  return NEEDS_ESCAPE.test(text)
    ? text
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
        .replaceAll('"', '&quot;')
        .replaceAll("'", '&#39;')
    : text;
}

const URL_SAFE = /^[A-Za-z0-9._-]*$/;

/** One part of a path in an address, for an attribute in quotes. */
export const pathSegment = (text: string): string =>
  URL_SAFE.test(text) ? text : escape(encodeURIComponent(text));

const BYTE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** `1.4 MB` of bytes. */
export function formatBytes(count: number): string {
  let value = count;
  let unit = 0;
  // From 999.5 on it would be written as 1000 of the smaller unit.
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 && unit > 0 ? value.toFixed(1) : value.toFixed(0)} ${BYTE_UNITS[unit] ?? ''}`;
}

const DAY_MS = 86_400_000;
/** Days as they were written before: a project's page has hundreds of the same few. */
const dayCache = new Map<number, string>();

/** `2026-11-21` of milliseconds since 1970. */
export function formatDay(ms: number): string {
  const dayNumber = Math.floor(ms / DAY_MS);
  const cached = dayCache.get(dayNumber);
  if (cached !== undefined) return cached;
  if (dayCache.size > 10_000) dayCache.clear();
  const text = new Date(ms).toISOString().slice(0, 10);
  dayCache.set(dayNumber, text);
  return text;
}

/** `1,234,567` */
export function formatCount(n: number): string {
  const digits = String(n);
  return n < 1000 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 wheel`, `2,000 wheels`. */
export const formatQuantity = (n: number, noun: string): string =>
  `${formatCount(n)} ${noun}${n === 1 ? '' : 's'}`;

/** `45 s`, `12 min`, `3 h 5 min`, `4 days` of seconds. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${String(minutes)} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48)
    return minutes % 60 === 0 ? `${String(hours)} h` : `${String(hours)} h ${String(minutes % 60)} min`;
  return `${formatCount(Math.round(hours / 24))} days`;
}

/** A moment as everybody reads it alike, `2026-11-21 14:05 UTC`; the page's script adds how long ago that is. */
export function timeElement(ms: number): Html {
  const iso = new Date(ms).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`;
}
