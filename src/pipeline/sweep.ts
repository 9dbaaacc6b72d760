/** `sweep`: methods x keeps x texts from one calibration, cell by cell; no model is written unless asked for. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { InterruptedError } from "../errors.ts";
import { type Perplexity, perplexity, perplexityOf } from "../evaluate/perplexity.ts";
import { loadModel } from "../models/load.ts";
import { calibrationText, readCalibrationOf, sumWindows } from "./calibrate.ts";
import { compress } from "./compress.ts";
import { type EvaluationText, evaluationText } from "./evaluation-text.ts";
import type { Job } from "./job.ts";
import { stopwatch } from "./measure.ts";
import type { ProjectionReport, TextResult } from "./results.ts";
import { openStatistics } from "./stored-statistics.ts";
import { checkSweepFolder, SweepJournal } from "./sweep-journal.ts";
import type { SweepSettings } from "./sweep-options.ts";
import { writeSweepReports } from "./sweep-outputs.ts";
import { type CellPlan, type PassItem, runPass } from "./sweep-pass.ts";
import { cellOptions, checkSweep, largestCell, passes, passItems, planCells, writtenCells } from "./sweep-plan.ts";
import { type Sweep, sweepHead } from "./sweep-protocol.ts";
import type { SweepResult, SweepRow } from "./sweep-results.ts";

interface Run extends Sweep {
  readonly journal: SweepJournal;
  readonly statistics: StatisticsFolder | undefined;
  readonly job: Job;
}

export async function sweep(options: SweepSettings, job: Job): Promise<SweepResult> {
  checkSweepFolder(options.out);
  checkSweep(options);
  const written = writtenCells(options);
  const model = await loadModel(options.model, job);
  const stored = options.statistics === undefined ? undefined : openStatistics(options.statistics, model);
  const calibration = options.calibration.length > 0 ? await readCalibrationOf(model, options, job) : undefined;
  const texts = options.texts.map((file) => evaluationText(model, file, options, job));
  const largest = largestCell(model, options);
  passes(model, passItems([largest], texts), options);
  const plan: Sweep = { model, options, dtype: largest.plan.dtype, texts, stored, calibration };
  const journal = SweepJournal.open(sweepHead(plan), options.resume);
  try {
    const statistics = stored ?? ownStatistics(plan, job);
    measure({ ...plan, journal, statistics, job });
    writeSweepReports(journal.result());
    for (const { method, keep } of written) await writeCell(plan, method, keep, statistics, job);
  } catch (error) {
    throw withResumeHint(journal, error);
  }
  return journal.result();
}

/** An interrupted sweep says how to go on. */
function withResumeHint(journal: SweepJournal, error: unknown): unknown {
  if (!(error instanceof InterruptedError)) return error;
  const cells = journal.result().cells.length;
  return new InterruptedError(`interrupted: ${cells} cells are saved; the same command with --resume continues`);
}

/** The sweep's own calibration, kept in its folder; of an interrupted run's the same. */
function ownStatistics({ model, options, calibration }: Sweep, job: Job): StatisticsFolder | undefined {
  if (!calibration) return undefined;
  const out = join(options.out, "statistics");
  const texts = [calibrationText(options.calibration, calibration)];
  const { calibrationWindow: window, memoryBytes } = options;
  if (!existsSync(out)) sumWindows(model, { out, windows: calibration.windows, texts, window, memoryBytes }, job);
  return openStatistics(out, model);
}

function measure(run: Run): void {
  const { model, options, statistics, journal, job } = run;
  if (!journal.denseRow) journal.saveDense(denseRow(run));
  for (const method of new Set(options.methods)) {
    if (options.keeps.every((keep) => journal.has(method, keep))) continue;
    const cells = planCells(model, options, method, statistics, job);
    const pending = cells.filter(({ keep }) => !journal.has(method, keep));
    measureMethod(run, method, pending);
  }
}

function denseRow({ model, texts, job }: Run): SweepRow {
  const clock = stopwatch();
  const results = texts.map((text): TextResult => {
    const progress = (done: number) => {
      job.checkpoint();
      job.progress({ stage: `dense ${text.file}`, done: Math.floor(done), total: text.windows.length, unit: "window" });
    };
    return textResult(text, perplexity(model, text.windows, progress));
  });
  return { parameters: model.parameters, bytes: model.bytes, ...measured(results), seconds: clock() };
}

function textResult({ file, tokens, windows }: EvaluationText, result: Perplexity): TextResult {
  return { file, tokens, windows: windows.length, window: windows[0]?.length ?? 0, ...result };
}

function measured(texts: readonly TextResult[]): Pick<SweepRow, "texts" | "averagePerplexity" | "tasks"> {
  const total = texts.reduce((sum, { perplexity }) => sum + perplexity, 0);
  return { texts, averagePerplexity: total / texts.length, tasks: [] };
}

/** What the passes have given so far for one cell. */
interface Tally {
  /** Negative log-likelihood by text. */
  readonly nll: number[];
  itemsLeft: number;
  seconds: number;
  reports: readonly ProjectionReport[];
}

function measureMethod(run: Run, method: string, cells: readonly CellPlan[]): void {
  const items = passItems(cells, run.texts);
  const tallies = new Map(cells.map((cell) => [cell, newTally(run, items, cell)]));
  const parts = passes(run.model, items, run.options);
  parts.forEach((part, i) => {
    const stage = parts.length > 1 ? `${method} ${i + 1}/${parts.length}` : method;
    measurePass(run, part, stage, tallies);
    for (const [cell, tally] of tallies) {
      if (tally.itemsLeft === 0 && !run.journal.has(method, cell.keep)) saveCell(run, cell, tally);
    }
  });
}

function newTally({ texts }: Run, items: readonly PassItem[], cell: CellPlan): Tally {
  const itemsLeft = items.filter((item) => item.cell === cell).length;
  return { nll: texts.map(() => 0), itemsLeft, seconds: 0, reports: [] };
}

function measurePass(run: Run, items: readonly PassItem[], stage: string, tallies: ReadonlyMap<CellPlan, Tally>): void {
  const clock = stopwatch();
  const { model, options, statistics, job } = run;
  const { nll, reports, spectra } = runPass({ model, options, statistics, items, job, stage });
  run.journal.addSpectra(spectra);
  const share = clock() / items.length;
  items.forEach(({ cell, text }, i) => {
    const tally = tallies.get(cell) as Tally;
    tally.nll[text] = (tally.nll[text] as number) + (nll[i] as number);
    tally.itemsLeft--;
    tally.seconds += share;
    tally.reports = reports.get(cell) ?? [];
  });
}

function saveCell({ journal, texts }: Run, { keep, plan }: CellPlan, { nll, seconds, reports }: Tally): void {
  const { keptProjections, keptTotal, parametersAfter, bytesAfter } = plan.summary;
  const results = texts.map((text, i) => textResult(text, perplexityOf(nll[i] as number, text.windows)));
  journal.saveCell({
    ...{ method: plan.method.name, keep, keptProjections, keptTotal, parameters: parametersAfter, bytes: bytesAfter },
    ...measured(results),
    ...{ seconds, projections: reports },
  });
}

/** Writes one cell's model, unless an earlier run did. */
async function writeCell(
  { model, options }: Sweep,
  method: string,
  keep: number,
  statistics: StatisticsFolder | undefined,
  job: Job,
): Promise<void> {
  const cell = cellOptions(options, method, keep);
  if (existsSync(cell.out)) return;
  await compress({ ...cell, model: model.source, statistics: statistics?.path, resume: true }, job);
}
