/** Pads cells to the width of their columns. Cells are flush left, except in column `rightAlignedColumn` (from 0). */
export function formatTable(
  rows: readonly (readonly string[])[],
  rightAlignedColumn = -1,
): readonly string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, i) =>
        i === rightAlignedColumn ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** Replaces control characters in text from outside, so that it can't move the terminal's cursor. */
export const stripControlCharacters = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
