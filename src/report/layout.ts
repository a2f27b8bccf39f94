/** Lays out rows in columns: the first to the left, the others to the right, or those to the left that `left` says. */
export function layOut(
  rows: readonly (readonly string[])[],
  left: (column: number) => boolean = (column) => column === 0,
): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (left(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd(),
  );
}
