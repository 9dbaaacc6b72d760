/** `rankfold sweep`: methods x keeps x texts from one calibration. */
import type { Command } from "commander";
import { parseOptions } from "../pipeline/options.ts";
import type { TaskResult } from "../pipeline/results.ts";
import { taskNames } from "../pipeline/short-names.ts";
import { type SweepOptions, sweepOptions } from "../pipeline/sweep-options.ts";
import type { SweepResult, SweepRow } from "../pipeline/sweep-results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPercent, formatPerplexity, formatSeconds } from "../report/units.ts";
import { addOptions, MEMORY, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";
import { SWEEP } from "./sweep-options.ts";

type Flags = Omit<SweepOptions, "model" | "texts" | "memoryBytes"> &
  OutputOptions & { readonly text?: string[]; readonly memory?: number };

export function addSweep(program: Command): void {
  const command = program.command("sweep").description("compare methods and sizes on texts, from one calibration");
  addOptions(command.argument("<model>", MODEL), ...SWEEP, THREADS, MEMORY).action(async (model: string, flags: Flags) => {
    const { json, quiet, memory, text, ...rest } = flags;
    const options = parseOptions(sweepOptions, { model, ...(text ? { texts: text } : {}), memoryBytes: memory, ...rest });
    print(await runWatched("sweep", options, { json, quiet }), { json, quiet }, renderSweep);
  });
}

export function renderSweep(result: SweepResult): string {
  const { protocol, dense, cells } = result;
  const texts = protocol.texts.map(({ text }) => text);
  const tasks = taskNames(protocol.tasks);
  const scores = [...(texts.length > 0 ? [...texts, "average"] : []), ...(tasks.length > 0 ? [...tasks, "average acc"] : [])];
  const columns = [{ title: "method" }, right("keep"), right("of the model"), right("bytes"), ...scores.map(right)];
  const line = (name: string, keep: string, kept: number, row: SweepRow) => [
    ...[name, keep, formatPercent(kept), formatBytes(row.bytes)],
    ...scoresOf(row),
  ];
  const measured = cells.map((cell) => line(cell.method, String(cell.keep), cell.keptTotal, cell));
  const facts = renderFacts([
    ["written", `${result.out}: report.html, results.csv, results.json`],
    ["model", `${result.model.path}, ${formatCount(dense?.parameters ?? 0)} parameters`],
    ...(texts.length > 0
      ? [
          [
            "windows",
            `${protocol.texts.map(({ windows }) => windows).join(", ")} of ${protocol.window} tokens; perplexity, lower is better`,
          ] as const,
        ]
      : []),
    ...(tasks.length > 0
      ? [
          [
            "questions",
            `${protocol.tasks.map(({ rows }) => rows).join(", ")}; acc / acc_norm in %, standard errors behind`,
          ] as const,
        ]
      : []),
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return `${renderTable(columns, [...(dense ? [line("dense", "-", 1, dense)] : []), ...measured])}\n${facts}`;
}

function scoresOf({ texts, averagePerplexity, tasks, averageAccuracy }: SweepRow): string[] {
  const perplexities = averagePerplexity === null ? [] : [...texts.map(({ perplexity }) => perplexity), averagePerplexity];
  const accuracies = averageAccuracy === null ? [] : [...tasks.map(accuracyOf), percent(averageAccuracy)];
  return [...perplexities.map(formatPerplexity), ...accuracies];
}

const percent = (fraction: number | null) => (fraction === null ? "-" : (100 * fraction).toFixed(1));

/** `43.0 / 45.2 (1.9, 2.0)`: acc, acc_norm where the task has it, and their standard errors. */
function accuracyOf({ acc, accStderr, accNorm, accNormStderr }: TaskResult): string {
  if (accNorm === null) return `${percent(acc)} (${percent(accStderr)})`;
  return `${percent(acc)} / ${percent(accNorm)} (${percent(accStderr)}, ${percent(accNormStderr)})`;
}
