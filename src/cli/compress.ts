/** `rankfold compress`: the main job, and its plan with --dry-run. */
import type { Command } from "commander";
import { type CompressOptions, compressOptions, parseOptions } from "../pipeline/options.ts";
import type { CompressPlan, CompressResult, ProjectionReport } from "../pipeline/results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPercent, formatSeconds } from "../report/units.ts";
import { addOptions, COMPRESS, MEMORY, MODEL, type OutputOptions, THREADS, VERBOSE } from "./options.ts";
import { cellOf, countKinds, renderBlocks } from "./plan-table.ts";
import { refinementFacts } from "./refine.ts";
import { print, runWatched } from "./session.ts";

interface OwnFlags extends OutputOptions {
  readonly memory?: number;
  readonly verbose?: boolean;
}
type Flags = Omit<CompressOptions, "model" | "memoryBytes"> & OwnFlags;

export function addCompress(program: Command): void {
  const command = program.command("compress").description("make a model smaller and write it to a folder");
  addOptions(command.argument("<model>", MODEL), ...COMPRESS, THREADS, MEMORY, VERBOSE).action(
    async (model: string, flags: Flags) => {
      const { json, quiet, verbose = false, memory, ...rest } = flags;
      const options = parseOptions(compressOptions, { model, memoryBytes: memory, ...rest });
      print(await runWatched("compress", options, { json, quiet }), { json, quiet }, (result) => renderCompress(result, verbose));
    },
  );
}

export function renderCompress(result: CompressResult | CompressPlan, verbose: boolean): string {
  const table = verbose ? renderProjections(result.projections) : renderBlocks(result.projections);
  const gains = result.gains.length > 0 ? `${renderGains(result.gains)}\n` : "";
  return `${table}\n${gains}${"stages" in result ? resultFacts(result) : planFacts(result)}`;
}

/** A row for each projection, with its errors where it was made. */
function renderProjections(projections: CompressPlan["projections"] | CompressResult["projections"]): string {
  const columns = [{ title: "projection" }, ...["rows", "columns", "becomes", "energy kept", "weight error"].map(right)];
  const rows = projections.map((projection) => {
    const { retainedEnergy = null, relativeError = null }: Partial<ProjectionReport> = projection;
    const errors = [retainedEnergy === null ? "-" : formatPercent(retainedEnergy), relativeError?.toFixed(4) ?? "-"];
    return [projection.name, String(projection.rows), String(projection.columns), cellOf(projection), ...errors];
  });
  return renderTable(columns, rows);
}

/** What each kind of module gives up, and what that is predicted to cost. */
function renderGains(gains: CompressResult["gains"]): string {
  const columns = [
    { title: "kind" },
    { title: "becomes" },
    ...["modules", "parameters saved", "predicted divergence"].map(right),
  ];
  const rows = gains.map(({ kind, becomes, modules, parametersSaved, divergence }) => {
    return [kind, becomes, String(modules), formatCount(parametersSaved), divergence?.toFixed(4) ?? "-"];
  });
  return renderTable(columns, rows);
}

function planFacts(plan: CompressPlan): string {
  return renderFacts([
    ["model", plan.model],
    ...recipeFacts(plan),
    ["replaced", countKinds(plan.projections)],
    ["kept", `${formatPercent(plan.keptProjections)} of the projections, ${formatPercent(plan.keptTotal)} of the model`],
    ["parameters", `${formatCount(plan.parametersBefore)} -> ${formatCount(plan.parametersAfter)}`],
    ["bytes", formatBytes(plan.bytesAfter)],
    ["calibration", `${plan.calibrationTokens} tokens`],
    ["peak memory", `${formatBytes(plan.peakBytes)} (predicted)`],
  ]);
}

/** Stages that took less are not worth a word. */
const SHOWN_SECONDS = 0.05;

function resultFacts(result: CompressResult): string {
  const spent = Object.entries(result.stages).filter(([, seconds]) => seconds >= SHOWN_SECONDS);
  const stages = spent.map(([stage, seconds]) => `${stage} ${formatSeconds(seconds)}`);
  return renderFacts([
    ["written", result.out],
    ...recipeFacts(result),
    ["kept", `${formatPercent(result.keptProjections)} of the projections, ${formatPercent(result.keptTotal)} of the model`],
    ["parameters", formatCount(result.parameters)],
    ["bytes", formatBytes(result.bytes)],
    ...(result.refinement ? refinementFacts(result.refinement) : []),
    ["time", `${formatSeconds(result.seconds)} (${stages.join(", ")})`],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
}

function recipeFacts({ method, allocate, keep, recipe }: CompressPlan | CompressResult): [string, string][] {
  return [
    ["method", `${method} at keep ${keep}, allocated by ${allocate}`],
    ["recipe", recipe],
  ];
}
