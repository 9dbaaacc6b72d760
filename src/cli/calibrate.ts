/** `rankfold calibrate` and `rankfold merge-statistics`: the sums that methods need, made once and kept. */
import type { Command } from "commander";
import { parseOptions } from "../pipeline/options.ts";
import { type CalibrateOptions, calibrateOptions, type MergeOptions, mergeOptions } from "../pipeline/sweep-options.ts";
import type { CalibrateResult } from "../pipeline/sweep-results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatSeconds } from "../report/units.ts";
import { addOptions, MEMORY, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";
import { CALIBRATE, MERGE } from "./sweep-options.ts";

type CalibrateFlags = Omit<CalibrateOptions, "model" | "memoryBytes"> & OutputOptions & { readonly memory?: number };
type MergeFlags = Omit<MergeOptions, "folders"> & OutputOptions;

export function addCalibrate(program: Command): void {
  const command = program.command("calibrate").description("sum a model's activations on texts, for compress and sweep to share");
  addOptions(command.argument("<model>", MODEL), ...CALIBRATE, THREADS, MEMORY).action(
    async (model: string, flags: CalibrateFlags) => {
      const { json, quiet, memory, ...rest } = flags;
      const options = parseOptions(calibrateOptions, { model, memoryBytes: memory, ...rest });
      print(await runWatched("calibrate", options, { json, quiet }), { json, quiet }, renderCalibrate);
    },
  );
}

export function addMergeStatistics(program: Command): void {
  const command = program.command("merge-statistics").description("add up what calibrate wrote for several texts");
  addOptions(command.argument("<folders...>", "folders of one model's statistics, two or more"), ...MERGE).action(
    async (folders: string[], flags: MergeFlags) => {
      const { json, quiet, ...rest } = flags;
      const options = parseOptions(mergeOptions, { folders, ...rest });
      print(await runWatched("mergeStatistics", options, { json, quiet }), { json, quiet }, renderCalibrate);
    },
  );
}

export function renderCalibrate(result: CalibrateResult): string {
  const columns = [{ title: "text" }, right("windows"), { title: "SHA-256" }];
  const rows = result.texts.map(({ text, samples, sha256 }) => [text, String(samples), sha256.slice(0, 16)]);
  const random = result.randomWindows > 0 ? `, ${result.randomWindows} of them random` : "";
  const facts = renderFacts([
    ["written", result.out],
    ["model", `${result.model}, ${result.blocks} blocks`],
    ["tokens", `${result.tokens} in windows of ${result.window}${random}`],
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return `${renderTable(columns, rows)}\n${facts}`;
}
