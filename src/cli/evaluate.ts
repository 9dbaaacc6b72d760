/** `rankfold evaluate`: what a model is worth on texts. */
import type { Command } from "commander";
import { evaluateOptions, parseOptions } from "../pipeline/options.ts";
import type { EvaluateResult } from "../pipeline/results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPerplexity, formatSeconds } from "../report/units.ts";
import { addOptions, EVALUATE, MEMORY, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";

interface Flags extends OutputOptions {
  readonly text: string[];
  readonly window: number;
  readonly maxWindows?: number;
  readonly threads?: number;
  readonly memory?: number;
}

export function addEvaluate(program: Command): void {
  const command = program.command("evaluate").description("perplexity on texts, size and speed");
  addOptions(command.argument("<model>", MODEL), ...EVALUATE, THREADS, MEMORY).action(async (model: string, flags: Flags) => {
    const { json, quiet, memory, text, ...rest } = flags;
    const options = parseOptions(evaluateOptions, { model, texts: text, memoryBytes: memory, ...rest });
    print(await runWatched("evaluate", options, { json, quiet }), { json, quiet }, renderEvaluate);
  });
}

export function renderEvaluate(result: EvaluateResult): string {
  const columns = [{ title: "text" }, right("tokens"), right("windows"), right("window"), right("perplexity")];
  const rows = result.texts.map(({ file, tokens, windows, window, perplexity }) => [
    file,
    ...[tokens, windows, window].map(String),
    formatPerplexity(perplexity),
  ]);
  const facts = renderFacts([
    ["model", result.model],
    ["parameters", formatCount(result.parameters)],
    ["bytes", formatBytes(result.bytes)],
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return `${renderTable(columns, rows)}\n${facts}`;
}
