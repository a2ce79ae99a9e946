/** A piece of HTML that is safe to put into a page as it stands. */
export interface Html {
  readonly html: string;
}

type Value = Html | string | number | null | undefined | false | readonly Html[];

/** HTML from a template: whatever isn't Html itself is escaped, also in attributes in quotes. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return { html: strings.reduce((text, piece, i) => text + render(values[i - 1]) + piece) };
}

function render(value: Value): string {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number') return String(value);
  return 'html' in value ? value.html : value.map((one) => one.html).join('');
}

/** Text for HTML, between tags or in an attribute in quotes. */
export function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** `1.4 MB` of bytes. */
export function bytes(count: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : value.toFixed(0)} ${units[unit] ?? ''}`;
}

/** `2026-11-21` of milliseconds since 1970. */
export const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
/** `1,234,567` */
export const count = (n: number): string => n.toLocaleString('en-GB');
