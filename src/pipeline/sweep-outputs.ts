/** `results.csv` and `report.html` of a sweep, from its results. */
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { storage } from "../formats/storage.ts";
import { nameInBlock } from "../models/weights.ts";
import { renderCsv } from "../report/csv.ts";
import {
  type ByProjection,
  type PageCell,
  type PageMeasure,
  type PageRow,
  type PageSpectra,
  renderSweepPage,
  type SweepPage,
} from "../report/sweep-page.ts";
import { formatBytes, formatCount, formatPercent, formatPerplexity, formatSeconds } from "../report/units.ts";
import type { ProjectionReport, TaskResult } from "./results.ts";
import { taskNames } from "./short-names.ts";
import type { Spectrum, SweepCell, SweepProtocol, SweepResult, SweepRow } from "./sweep-results.ts";

/** Of texts or of tasks, where there are several. */
const AVERAGE = "average";

/** Numbers of all curves together: what keeps the page below a megabyte. */
const CURVE_NUMBERS = 60_000;

export function writeSweepReports(result: SweepResult): void {
  const write = (name: string, text: string) =>
    storage(join(result.out, name), () => writeFileSync(join(result.out, name), text));
  write("results.csv", sweepCsv(result));
  write("report.html", renderSweepPage(sweepPage(result)));
}

const CSV_COLUMNS = [
  ...["method", "keep", "kept_projections", "kept_total", "parameters", "bytes", "seconds"],
  ...["text", "window", "windows", "perplexity", "mean_nll"],
  ...["task", "rows", "acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "task_perplexity"],
];

const NO_TEXT = ["", "", "", "", ""];
const NO_TASK = ["", "", "", "", "", "", ""];

/** A row for each cell and text, and for each cell and task, the dense model first. */
export function sweepCsv({ dense, cells, protocol }: SweepResult): string {
  const rows = (row: SweepRow, ...head: (string | number)[]) => {
    const own = [...head, row.parameters, row.bytes, row.seconds];
    const texts = row.texts.map(({ window, windows, perplexity, meanNll }, i) => {
      return [...own, protocol.texts[i]?.text ?? "", window, windows, perplexity, meanNll, ...NO_TASK];
    });
    const tasks = row.tasks.map(({ task, rows, acc, accStderr, accNorm, accNormStderr, perplexity }) => {
      return [...own, ...NO_TEXT, task, rows, acc, accStderr ?? "", accNorm ?? "", accNormStderr ?? "", perplexity ?? ""];
    });
    return [...texts, ...tasks];
  };
  const measured = cells.flatMap((cell) => rows(cell, cell.method, cell.keep, cell.keptProjections, cell.keptTotal));
  return renderCsv(CSV_COLUMNS, [...(dense ? rows(dense, "dense", 1, 1, 1) : []), ...measured]);
}

export function sweepPage(result: SweepResult): SweepPage {
  const { model, protocol, cells, spectra } = result;
  const methods = [...new Set(cells.map(({ method }) => method))];
  const keeps = new Set(cells.map(({ keep }) => keep));
  const names = projectionNames(cells);
  const dense = pageRow(result.dense as SweepRow);
  const measures = measuresOf(protocol);
  const levels = measures.map(({ name, kind }, i) => {
    const value = dense.values[i] as number;
    return kind === "accuracy" ? `${formatPercent(value)} on ${name}` : `${formatPerplexity(value)} on ${name}`;
  });
  return {
    title: `Sweep of ${basename(model.path)}`,
    summary: `${counted(methods.length, "method")} at ${counted(keeps.size, "size")} on ${evaluated(protocol)}. The dense model: ${levels.join(", ")}.`,
    command: result.command,
    facts: factsOf(result),
    measures,
    texts: [
      ...protocol.texts.map(({ text, sha256, tokens, windows }) => ({
        ...{ text, sha256, use: "evaluation" },
        ...{ tokens: String(tokens), windows: `${windows} of ${protocol.window}` },
      })),
      ...protocol.tasks.map(({ file, sha256, rows, bos }) => ({
        ...{ text: file, sha256, use: "task" },
        ...{ tokens: "", windows: `${rows} questions${bos ? ", each after the beginning-of-text token" : ""}` },
      })),
    ],
    calibration: protocol.calibration.map(({ text, sha256, samples }) => ({
      ...{ text, sha256, use: "calibration" },
      ...{ tokens: "", windows: `${samples} of ${protocol.calibrationWindow}` },
    })),
    blocks: model.blocks,
    projections: names,
    methods,
    dense,
    cells: cells.map((cell) => pageCell(cell, model.blocks, names)),
    spectra: methods.map((method) => pageSpectra(method, spectra, model.blocks, names)),
  };
}

const counted = (count: number, thing: string) => `${count} ${thing}${count === 1 ? "" : "s"}`;

function evaluated({ texts, tasks }: SweepProtocol): string {
  const parts = [
    [texts.length, "text"],
    [tasks.length, "task"],
  ] as const;
  return parts.flatMap(([count, thing]) => (count > 0 ? [counted(count, thing)] : [])).join(" and ");
}

/** In the order of `measuredOf`. */
function measuresOf({ texts, tasks }: SweepProtocol): PageMeasure[] {
  const withAverage = (names: readonly string[], kind: PageMeasure["kind"]) =>
    (names.length > 1 ? [...names, AVERAGE] : names).map((name) => ({ name, kind }));
  const texted = withoutExtensions(texts.map(({ text }) => text));
  return [...withAverage(texted, "perplexity"), ...withAverage(taskNames(tasks), "accuracy")];
}

/** Heads of a table have to be short: the names without their extensions, where they still differ. */
function withoutExtensions(names: readonly string[]): readonly string[] {
  const bare = names.map((name) => name.replace(/(?<=.)\.[^./]+$/, ""));
  return new Set(bare).size === names.length ? bare : names;
}

function measuredOf({ texts, averagePerplexity, tasks, averageAccuracy }: SweepRow): Pick<PageRow, "values" | "notes"> {
  const withAverage = (values: readonly number[], average: number | null) =>
    values.length > 1 ? [...values, average as number] : values;
  const texted = withAverage(
    texts.map(({ perplexity }) => perplexity),
    averagePerplexity,
  );
  const tasked = withAverage(
    tasks.map(({ acc }) => acc),
    averageAccuracy,
  );
  return { values: [...texted, ...tasked], notes: [...texted.map(() => ""), ...tasked.map((_, i) => noteOf(tasks[i]))] };
}

function noteOf(task: TaskResult | undefined): string {
  if (!task) return "";
  const { accStderr, accNorm, accNormStderr } = task;
  const spread = (error: number | null) => (error === null ? "" : `\u00b1 ${(100 * error).toFixed(1)}`);
  const norm = accNorm === null ? "" : `norm ${(100 * accNorm).toFixed(1)} ${spread(accNormStderr)}`;
  return [spread(accStderr), norm].filter(Boolean).join("; ");
}

function factsOf({ protocol, machine, node, created, seconds, peakRssBytes, model, dense }: SweepResult): SweepPage["facts"] {
  const options = Object.entries(protocol.options).filter(([, value]) => value !== null);
  return [
    ["Model", `${basename(model.path)}, ${model.blocks} blocks, ${formatCount(dense?.parameters ?? 0)} parameters`],
    ["Model fingerprint", protocol.modelFingerprint],
    ["Written numbers", `${protocol.dtype}: factors and all other weights are rounded to it before they are measured`],
    ["Calibration inputs", "the dense model's, for every method"],
    ["Options", options.map(([name, value]) => `--${kebab(name)} ${value}`).join(", ")],
    ["Made by", `rankfold ${protocol.version}, Node ${node}, ${created}`],
    ["Machine", `${machine.processor}, ${machine.threads} threads`],
    ["Time and memory", `${formatSeconds(seconds)}, at most ${formatBytes(peakRssBytes)}`],
  ];
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Names of the projections without their block, in the order of the blocks. */
function projectionNames(cells: readonly SweepCell[]): string[] {
  const names = cells.flatMap(({ projections }) => projections.map(({ name }) => placeOf(name).projection));
  return [...new Set(names)];
}

/** The block and the name in it. */
function placeOf(name: string): { block: number; projection: string } {
  const block = Number(/\.(\d+)\./.exec(name)?.[1] ?? 0);
  return { block, projection: nameInBlock(name) };
}

function pageRow(row: SweepRow): PageRow {
  const { parameters, bytes, seconds } = row;
  return {
    ...measuredOf(row),
    size: formatCount(parameters),
    weights: formatBytes(bytes),
    time: formatSeconds(seconds),
  };
}

function pageCell(cell: SweepCell, blocks: number, names: readonly string[]): PageCell {
  const { method, keep, keptProjections, keptTotal, projections } = cell;
  const byPlace = (pick: (report: ProjectionReport) => number | null) => byProjection(projections, blocks, names, pick);
  return {
    ...pageRow(cell),
    ...{ method, keep, keptProjections, keptTotal },
    energy: byPlace(({ retainedEnergy }) => (retainedEnergy === null ? null : short(retainedEnergy))),
    rank: byPlace(({ rank }) => rank),
    error: byPlace(({ relativeError }) => (relativeError === null ? null : short(relativeError))),
  };
}

/** Four digits: what a page can show. */
const short = (value: number) => Number(value.toFixed(4));

function byProjection<I extends { readonly name: string }, T>(
  items: readonly I[],
  blocks: number,
  names: readonly string[],
  pick: (item: I) => T | null,
): ByProjection<T> {
  const grid = Array.from({ length: blocks }, () => names.map((): T | null => null));
  for (const item of items) {
    const { block, projection } = placeOf(item.name);
    const row = grid[block];
    if (row) row[names.indexOf(projection)] = pick(item);
  }
  return grid;
}

function pageSpectra(method: string, spectra: readonly Spectrum[], blocks: number, names: readonly string[]): PageSpectra {
  const step = stepOf(spectra);
  const own = spectra.filter((spectrum) => spectrum.method === method);
  const curves = byProjection(own, blocks, names, ({ rank, retained }) => {
    return { rank, retained: retained.filter((_, i) => i % step === 0).map((value) => Number(value.toFixed(3))) };
  });
  return { method, curves };
}

/** Every how manieth point of the curves is shown: 1, 2, 4 ... of 32 steps. */
function stepOf(spectra: readonly Spectrum[]): number {
  const numbers = spectra.reduce((sum, { retained }) => sum + retained.length, 0);
  let step = 1;
  while (numbers / step > CURVE_NUMBERS && step < 8) step *= 2;
  return step;
}
