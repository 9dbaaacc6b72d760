/** `rankfold refine`: trains a compressed model towards the dense one it was made from. */
import type { Command } from "commander";
import { parseOptions, type RefineOptions, refineOptions } from "../pipeline/options.ts";
import type { Refinement, RefineResult } from "../pipeline/results.ts";
import { renderFacts } from "../report/table.ts";
import { formatBytes, formatSeconds } from "../report/units.ts";
import { addOptions, MEMORY, type OutputOptions, REFINE, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";

type Flags = Omit<RefineOptions, "model" | "memoryBytes"> & OutputOptions & { readonly memory?: number };

export function addRefine(program: Command): void {
  const command = program.command("refine").description("train a compressed model towards the dense one, on this machine");
  const withOptions = addOptions(
    command.argument("<model>", "a folder that rankfold compress wrote"),
    ...REFINE,
    THREADS,
    MEMORY,
  );
  withOptions.action(async (model: string, flags: Flags) => {
    const { json, quiet, memory, ...rest } = flags;
    const options = parseOptions(refineOptions, { model, memoryBytes: memory, ...rest });
    print(await runWatched("refine", options, { json, quiet }), { json, quiet }, renderRefined);
  });
}

function renderRefined(result: RefineResult): string {
  return renderFacts([
    ["written", result.out],
    ...refinementFacts(result),
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
}

/** What `compress --refine` says too. */
export function refinementFacts({ level, steps, bestStep, windows, divergence }: Refinement): [string, string][] {
  const { before, after } = divergence;
  return [
    ["refined", `${level}, ${steps} steps over ${windows} windows; step ${bestStep} was best`],
    ["divergence", `${before.toFixed(4)} -> ${after.toFixed(4)} nats a token on held-back text`],
  ];
}
