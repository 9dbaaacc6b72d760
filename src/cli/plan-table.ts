/** What a plan replaces, a row for each run of equal blocks and a column for each projection. */
import type { CompressPlan } from "../pipeline/results.ts";
import { renderTable, right } from "../report/table.ts";

type Planned = CompressPlan["projections"][number];

/** A rank, the width of a part that gets narrower, or dense. */
function cellOf({ rank, width }: Planned): string {
  if (width !== undefined) return `width ${width}`;
  return rank === null ? "dense" : String(rank);
}

const kindOf = ({ name }: Planned) => name.slice(name.lastIndexOf(".") + 1);
const blockOf = ({ name }: Planned) => Number(/\.(\d+)\./.exec(name)?.[1] ?? 0);

export function renderBlocks(projections: readonly Planned[]): string {
  const kinds = [...new Map(projections.map((projection) => [kindOf(projection), projection])).values()];
  const blocks = new Map<number, string[]>();
  for (const projection of projections)
    blocks.set(blockOf(projection), [...(blocks.get(blockOf(projection)) ?? []), cellOf(projection)]);
  const runs: { first: number; last: number; readonly cells: string[] }[] = [];
  for (const [block, cells] of blocks) {
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
