/** Formats values in the text format of PostgreSQL's COPY: fields separated by tabs, one row per line. */

const NEEDS_ESCAPE = /[\\\t\n\r\0]/;

/** Formats one field. Drops NUL characters, which PostgreSQL's text can't store. */
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

/** Formats several fields of a row, separated by tabs. */
export const copyFields = (values: readonly (string | number | null)[]): string =>
  values.map(copyField).join('\t');
