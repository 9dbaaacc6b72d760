/** `rankfold sweep`: methods x keeps x texts from one calibration. */
import type { Command } from "commander";
import { parseOptions } from "../pipeline/options.ts";
import { type SweepOptions, sweepOptions } from "../pipeline/sweep-options.ts";
import type { SweepResult, SweepRow } from "../pipeline/sweep-results.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount, formatPercent, formatPerplexity, formatSeconds } from "../report/units.ts";
import { addOptions, MEMORY, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";
import { SWEEP } from "./sweep-options.ts";

type Flags = Omit<SweepOptions, "model" | "texts" | "memoryBytes"> &
  OutputOptions & { readonly text: string[]; readonly memory?: number };

export function addSweep(program: Command): void {
  const command = program.command("sweep").description("compare methods and sizes on texts, from one calibration");
  addOptions(command.argument("<model>", MODEL), ...SWEEP, THREADS, MEMORY).action(async (model: string, flags: Flags) => {
    const { json, quiet, memory, text, ...rest } = flags;
    const options = parseOptions(sweepOptions, { model, texts: text, memoryBytes: memory, ...rest });
    print(await runWatched("sweep", options, { json, quiet }), { json, quiet }, renderSweep);
  });
}

export function renderSweep(result: SweepResult): string {
  const { protocol, dense, cells } = result;
  const texts = protocol.texts.map(({ text }) => right(text));
  const columns = [{ title: "method" }, right("keep"), right("of the model"), right("bytes"), ...texts, right("average")];
  const line = (name: string, keep: string, kept: number, row: SweepRow) => [
    ...[name, keep, formatPercent(kept), formatBytes(row.bytes)],
    ...[...row.texts.map(({ perplexity }) => perplexity), row.averagePerplexity].map(formatPerplexity),
  ];
  const measured = cells.map((cell) => line(cell.method, String(cell.keep), cell.keptTotal, cell));
  const facts = renderFacts([
    ["written", `${result.out}: report.html, results.csv, results.json`],
    ["model", `${result.model.path}, ${formatCount(dense?.parameters ?? 0)} parameters`],
    [
      "windows",
      `${protocol.texts.map(({ windows }) => windows).join(", ")} of ${protocol.window} tokens; perplexity, lower is better`,
    ],
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return `${renderTable(columns, [...(dense ? [line("dense", "-", 1, dense)] : []), ...measured])}\n${facts}`;
}
