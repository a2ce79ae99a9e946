/** Columns as wide as their widest cell; `right` is the number of the one that is flush right. */
export function formatTable(
  rows: readonly (readonly string[])[],
  rightAlignedColumn = -1,
): readonly string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => (row[at] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, at) =>
        at === rightAlignedColumn ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** A reason comes from outside: it can't move the cursor. */
// eslint-disable-next-line no-control-regex
export const stripControlCharacters = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
