/** Columns for people: as wide as their widest cell, cells of several lines, colour only where the caller gives one. */

/** Paints a text that was padded already, so that colour codes never shift a column. */
export type Paint = (text: string) => string;

export interface Cell {
  readonly text: string;
  readonly paint: Paint | null;
}

/** A cell: text (several lines by newline), or text with its colour. */
export type CellInput = string | number | Cell;

const gap = "   ";

/** @returns lines without trailing blanks, ending in a newline each; an empty text when there is nothing at all */
export function table(headings: readonly string[], rows: readonly (readonly CellInput[])[]): string {
  const all = [headings, ...rows].map((row) => row.map(cell));
  const lines = all.map((row) => row.map(({ text }) => text.split("\n")));
  const widths = headings.map(() => 0);
  for (const row of lines) {
    for (const [column, cellLines] of row.entries()) {
      for (const line of cellLines) widths[column] = Math.max(widths[column] ?? 0, line.length);
    }
  }
  return all.map((row, index) => printRow(row, lines[index] ?? [], widths)).join("");
}

function printRow(row: readonly Cell[], lines: readonly (readonly string[])[], widths: readonly number[]): string {
  const height = Math.max(...lines.map((cellLines) => cellLines.length));
  return Array.from({ length: height }, (_, line) => {
    const cells = row.map(({ paint }, column) => {
      const text = lines[column]?.[line] ?? "";
      const padding = " ".repeat((widths[column] ?? 0) - text.length);
      return `${paint === null || text === "" ? text : paint(text)}${padding}`;
    });
    return `${cells.join(gap).trimEnd()}\n`;
  }).join("");
}

function cell(input: CellInput): Cell {
  return typeof input === "object" ? input : { text: String(input), paint: null };
}
