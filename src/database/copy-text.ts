/** What PostgreSQL's COPY reads, in its text format: fields between tabs, a row a line. */

const SPECIAL = /[\\\t\n\r\0]/;

/** One field; PostgreSQL's text has no NUL. */
export function copyField(value: string | number | null): string {
  if (value === null) return '\\N';
  if (typeof value === 'number') return String(value);
  return SPECIAL.test(value) ? value.replace(/[\\\t\n\r\0]/g, (char) => ESCAPED[char] ?? '') : value;
}

const ESCAPED: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/** Several fields of a row. */
export const copyFields = (values: readonly (string | number | null)[]): string =>
  values.map(copyField).join('\t');
