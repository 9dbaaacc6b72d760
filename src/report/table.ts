/** Rows to text: aligned columns, numbers to the right. No computation. */

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** A column of numbers. */
export const right = (title: string): Column => ({ title, align: "right" });

/** A header, a rule and one line for each row; ends with a newline. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, i) => pad(cells[i] ?? "", widths[i] ?? 0, align))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "-".repeat(width));
  return [columns.map(({ title }) => title), rule, ...rows].map((cells) => `${line(cells)}\n`).join("");
}

/** Facts, one a line: the names padded to one width; ends with a newline. */
export function renderFacts(facts: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}

function pad(cell: string, width: number, align: Column["align"] = "left"): string {
  return align === "right" ? cell.padStart(width) : cell.padEnd(width);
}
