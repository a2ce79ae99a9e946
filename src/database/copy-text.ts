/** What PostgreSQL's COPY reads, in its text format: fields between tabs, a row a line. */

const NEEDS_ESCAPE = /[\\\t\n\r\0]/;

/** One field; PostgreSQL's text has no NUL. */
export function copyField(value: string | number | null): string {
  if (value === null) return '\\N';
  if (typeof value === 'number') return String(value);
  return NEEDS_ESCAPE.test(value)
    ? value.replace(/[\\\t\n\r\0]/g, (char) => ESCAPE_SEQUENCES[char] ?? '')
    : value;
}

const ESCAPE_SEQUENCES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\t': '\\t',
  '\n': '\\n',
  '\r': '\\r',
};

/** Several fields of a row. */
export const copyFields = (values: readonly (string | number | null)[]): string =>
  values.map(copyField).join('\t');
