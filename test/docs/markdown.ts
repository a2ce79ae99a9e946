/** Markdown of the generated pages, formatted as prettier would. */

const NOTE = '<!-- Generated from the code by `npm run docs`. -->';

export const page = (title: string, ...blocks: readonly string[]): string =>
  `# ${title}\n\n${[NOTE, ...blocks].filter((block) => block !== '').join('\n\n')}\n`;

/** Returns a table: the first row is the heading, and columns are aligned. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = rows[0]?.map((_, i) => Math.max(3, ...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  const lines = rows.map(
    (row) => `| ${columns.map((width, i) => (row[i] ?? '').padEnd(width)).join(' | ')} |`,
  );
  const rule = `| ${columns.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1)].join('\n');
}

export const code = (text: string): string => `\`${text}\``;

/** Returns a text for a cell of a table: one line, in which no `|` ends the cell. */
export const cell = (text: string): string => text.replace(/\s+/g, ' ').trim().replaceAll('|', '\\|');

/** Returns the anchor that GitHub gives to a heading of one word. */
export const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');

/** Returns a meaning as a sentence for a cell of a table. */
export const sentence = (text: string): string =>
  text === ''
    ? ''
    : `${cell(text).charAt(0).toUpperCase()}${cell(text).slice(1)}${/[.:?]$/.test(text) ? '' : '.'}`;
