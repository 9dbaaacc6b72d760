/** `rankfold inspect`: what a model is. */
import type { Command } from "commander";
import { inspectOptions, parseOptions } from "../pipeline/options.ts";
import type { InspectResult } from "../pipeline/results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount } from "../report/units.ts";
import { addOptions, MODEL, type OutputOptions } from "./options.ts";
import { print, runWatched } from "./session.ts";

export function addInspect(program: Command): void {
  const command = program.command("inspect").description("what a model is: blocks, projections, parameters, bytes");
  addOptions(command.argument("<model>", MODEL)).action(async (model: string, output: OutputOptions) => {
    print(await runWatched("inspect", parseOptions(inspectOptions, { model }), output), output, renderInspect);
  });
}

export function renderInspect(result: InspectResult): string {
  const facts = renderFacts([
    ["model", result.model],
    ["architecture", `${result.modelType}, ${result.blocks} blocks, hidden size ${result.hiddenSize}`],
    ["vocabulary", String(result.vocabulary)],
    ["parameters", formatCount(result.parameters)],
    ["bytes", `${formatBytes(result.bytes)} (${result.formats.join(", ")})`],
    ["compressed by", result.compressedBy ?? "nothing: a dense model"],
  ]);
  const columns = [{ title: "projection" }, ...["rows", "columns", "blocks", "break-even rank", "rank"].map(right)];
  const rows = result.projections.map(({ name, rows: m, columns: n, blocks, breakEvenRank, ranks }) => [
    name,
    ...[m, n, blocks, breakEvenRank].map(String),
    formatRanks(ranks),
  ]);
  return `${facts}\n${renderTable(columns, rows)}`;
}

function formatRanks(ranks: readonly [number, number] | null): string {
  if (!ranks) return "dense";
  return ranks[0] === ranks[1] ? String(ranks[0]) : `${ranks[0]}-${ranks[1]}`;
}
