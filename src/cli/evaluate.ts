/** `rankfold evaluate`: what a model is worth on texts and tasks. */
import type { Command } from "commander";
import { evaluateOptions, parseOptions } from "../pipeline/options.ts";
import type { EvaluateResult } from "../pipeline/results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPerplexity, formatSeconds } from "../report/units.ts";
import { addOptions, EVALUATE, MEMORY, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";

interface Flags extends OutputOptions {
  readonly text?: string[];
  readonly tasks?: string[];
  readonly window: number;
  readonly maxWindows?: number;
  readonly limit?: number;
  readonly bos: "auto" | "always" | "never";
  readonly card?: boolean;
  readonly threads?: number;
  readonly memory?: number;
}

export function addEvaluate(program: Command): void {
  const command = program.command("evaluate").description("perplexity on texts, accuracy on zero-shot tasks, size and speed");
  addOptions(command.argument("<model>", MODEL), ...EVALUATE, THREADS, MEMORY).action(async (model: string, flags: Flags) => {
    const { json, quiet, memory, text, ...rest } = flags;
    const options = parseOptions(evaluateOptions, { model, texts: text, memoryBytes: memory, ...rest });
    print(await runWatched("evaluate", options, { json, quiet }), { json, quiet }, renderEvaluate);
  });
}

export function renderEvaluate(result: EvaluateResult): string {
  const facts = renderFacts([
    ["model", result.model],
    ["parameters", formatCount(result.parameters)],
    ["bytes", formatBytes(result.bytes)],
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return [...renderTexts(result.texts), ...renderTasks(result.tasks), facts].join("\n");
}

function renderTexts(texts: EvaluateResult["texts"]): string[] {
  const columns = [{ title: "text" }, right("tokens"), right("windows"), right("window"), right("perplexity")];
  const rows = texts.map(({ file, tokens, windows, window, perplexity }) => [
    file,
    ...[tokens, windows, window].map(String),
    formatPerplexity(perplexity),
  ]);
  return rows.length === 0 ? [] : [renderTable(columns, rows)];
}

/** Accuracies in percent, with their standard errors. */
function renderTasks(tasks: EvaluateResult["tasks"]): string[] {
  const columns = [{ title: "task" }, ...["rows", "acc", "±", "acc_norm", "±", "perplexity"].map(right)];
  const percent = (value: number | null) => (value === null ? "-" : (100 * value).toFixed(2));
  const rows = tasks.map((task) => [
    task.task === "multiple_choice" ? task.file : task.task,
    String(task.rows),
    ...[task.acc, task.accStderr, task.accNorm, task.accNormStderr].map(percent),
    task.perplexity === null ? "-" : formatPerplexity(task.perplexity),
  ]);
  const mean = percent(tasks.reduce((sum, { acc }) => sum + acc, 0) / tasks.length);
  if (rows.length > 1) rows.push(["mean of acc", "", mean, "", "", "", ""]);
  return rows.length === 0 ? [] : [renderTable(columns, rows)];
}
