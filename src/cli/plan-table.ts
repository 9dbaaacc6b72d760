/** What is replaced, a row for each run of equal blocks and a column for each kind of projection. */
import type { CompressPlan } from "../pipeline/results.ts";
import { renderTable, right } from "../report/table.ts";

type Planned = Pick<CompressPlan["projections"][number], "name" | "rows" | "columns" | "rank" | "width">;

/** A rank, the width of a part that gets narrower, or dense. */
export function cellOf({ rank, width }: Planned): string {
  if (width !== undefined) return `width ${width}`;
  return rank === null ? "dense" : String(rank);
}

const kindOf = ({ name }: Planned) => name.slice(name.lastIndexOf(".") + 1);
const blockOf = ({ name }: Planned) => Number(/\.(\d+)\./.exec(name)?.[1] ?? 0);

/** Projections that are not listed are dense. */
export function renderBlocks(projections: readonly Planned[]): string {
  const kinds = kindsOf(projections);
  const cells = new Map(projections.map((projection) => [`${blockOf(projection)} ${kindOf(projection)}`, cellOf(projection)]));
  const last = Math.max(-1, ...projections.map(blockOf));
  const rows = Array.from({ length: last + 1 }, (_, block) => {
    return kinds.map((kind) => cells.get(`${block} ${kindOf(kind)}`) ?? "dense");
  });
  return renderRuns(kinds, rows);
}

/** One projection of each kind, in the order of the blocks that list most. */
function kindsOf(projections: readonly Planned[]): Planned[] {
  const blocks = new Map<number, Planned[]>();
  for (const projection of projections) blocks.set(blockOf(projection), [...(blocks.get(blockOf(projection)) ?? []), projection]);
  const longestFirst = [...blocks.values()].sort((a, b) => b.length - a.length).flat();
  return longestFirst.filter((projection, i) => longestFirst.findIndex((other) => kindOf(other) === kindOf(projection)) === i);
}

/** @param rows the cells of each block. */
function renderRuns(kinds: readonly Planned[], rows: readonly (readonly string[])[]): string {
  const runs: { readonly first: number; last: number; readonly cells: readonly string[] }[] = [];
  for (const [block, cells] of rows.entries()) {
    const run = runs.at(-1);
    if (run && String(run.cells) === String(cells)) run.last = block;
    else runs.push({ first: block, last: block, cells });
  }
  return renderTable(
    [right("block"), ...kinds.map((kind) => right(kindOf(kind)))],
    [
      ["", ...kinds.map(({ rows, columns }) => `${rows} x ${columns}`)],
      ...runs.map(({ first, last, cells }) => [first === last ? String(first) : `${first}-${last}`, ...cells]),
    ],
  );
}

/** How many projections get what. */
export function countKinds(projections: readonly Planned[]): string {
  const count = (holds: (projection: Planned) => boolean) => projections.filter(holds).length;
  const narrower = count(({ width }) => width !== undefined);
  const factored = count(({ rank, width }) => width === undefined && rank !== null);
  const all = [`${factored} projections factored`, `${narrower} narrower`, `${projections.length - factored - narrower} dense`];
  return all.filter((text) => !text.startsWith("0 ")).join(", ");
}
