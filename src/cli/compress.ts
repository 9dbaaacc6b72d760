/** `rankfold compress`: the main job, and its plan with --dry-run. */
import type { Command } from "commander";
import { type CompressOptions, compressOptions, parseOptions } from "../pipeline/options.ts";
import type { CompressPlan, CompressResult } from "../pipeline/results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPercent, formatSeconds } from "../report/units.ts";
import { addOptions, COMPRESS, MEMORY, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { countKinds, renderBlocks } from "./plan-table.ts";
import { refinementFacts } from "./refine.ts";
import { print, runWatched } from "./session.ts";

type Flags = Omit<CompressOptions, "model" | "memoryBytes"> & OutputOptions & { readonly memory?: number };

export function addCompress(program: Command): void {
  const command = program.command("compress").description("make a model smaller and write it to a folder");
  addOptions(command.argument("<model>", MODEL), ...COMPRESS, THREADS, MEMORY).action(async (model: string, flags: Flags) => {
    const { json, quiet, memory, ...rest } = flags;
    const options = parseOptions(compressOptions, { model, memoryBytes: memory, ...rest });
    print(await runWatched("compress", options, { json, quiet }), { json, quiet }, renderCompress);
  });
}

export function renderCompress(result: CompressResult | CompressPlan): string {
  return "stages" in result ? renderResult(result) : renderPlan(result);
}

const SHAPE = [{ title: "projection" }, right("rows"), right("columns"), right("rank")];

const shapeOf = ({ name, rows, columns, rank }: CompressPlan["projections"][number]) => [
  name,
  String(rows),
  String(columns),
  rank === null ? "dense" : String(rank),
];

function renderPlan(plan: CompressPlan): string {
  const facts = renderFacts([
    ["model", plan.model],
    ["method", `${plan.method} at keep ${plan.keep}, allocated by ${plan.allocate}`],
    ["replaced", countKinds(plan.projections)],
    ["kept", `${formatPercent(plan.keptProjections)} of the projections, ${formatPercent(plan.keptTotal)} of the model`],
    ["parameters", `${formatCount(plan.parametersBefore)} -> ${formatCount(plan.parametersAfter)}`],
    ["bytes", formatBytes(plan.bytesAfter)],
    ["calibration", `${plan.calibrationTokens} tokens`],
    ["peak memory", `${formatBytes(plan.peakBytes)} (predicted)`],
  ]);
  return `${renderBlocks(plan.projections)}\n${facts}`;
}

function renderResult(result: CompressResult): string {
  const columns = [...SHAPE, right("energy kept"), right("weight error")];
  const rows = result.projections.map((projection) => [
    ...shapeOf(projection),
    projection.retainedEnergy === null ? "-" : formatPercent(projection.retainedEnergy),
    projection.relativeError?.toFixed(4) ?? "-",
  ]);
  const stages = Object.entries(result.stages).map(([stage, seconds]) => `${stage} ${formatSeconds(seconds)}`);
  const facts = renderFacts([
    ["written", result.out],
    ["method", `${result.method} at keep ${result.keep}`],
    ["kept", `${formatPercent(result.keptProjections)} of the projections, ${formatPercent(result.keptTotal)} of the model`],
    ["parameters", formatCount(result.parameters)],
    ["bytes", formatBytes(result.bytes)],
    ...(result.refinement ? refinementFacts(result.refinement) : []),
    ["time", `${formatSeconds(result.seconds)} (${stages.join(", ")})`],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return `${renderTable(columns, rows)}\n${facts}`;
}
