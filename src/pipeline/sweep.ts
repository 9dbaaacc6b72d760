/** `sweep`: methods x keeps x texts from one calibration, cell by cell; no model is written unless asked for. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { InterruptedError } from "../errors.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import { loadModel } from "../models/load.ts";
import { calibrationText, readCalibrationOf, sumWindows } from "./calibrate.ts";
import { compress } from "./compress.ts";
import { evaluateTask, evaluationTask } from "./evaluate-task.ts";
import { evaluationText } from "./evaluation-text.ts";
import type { Job } from "./job.ts";
import { stopwatch } from "./measure.ts";
import type { TextResult } from "./results.ts";
import { openStatistics, readsGradients } from "./stored-statistics.ts";
import { CellMeasurement, scoresOf, textResult } from "./sweep-cell.ts";
import { checkSweepFolder, SweepJournal } from "./sweep-journal.ts";
import type { SweepSettings } from "./sweep-options.ts";
import { writeSweepReports } from "./sweep-outputs.ts";
import { type CellPlan, type PassItem, runPass } from "./sweep-pass.ts";
import { cellOptions, checkSweep, largestCell, passes, planCells, writtenCells } from "./sweep-plan.ts";
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
  const stored = options.statistics === undefined ? undefined : openStatistics(options.statistics, model, ...options.methods);
  const calibration = options.calibration.length > 0 ? await readCalibrationOf(model, options, job) : undefined;
  const texts = options.texts.map((file) => evaluationText(model, file, options, job));
  const tasks = options.tasks.map((file) => evaluationTask(model, file, options, job));
  const largest = largestCell(model, options);
  passes(model, new CellMeasurement(largest, { texts, tasks }).items, options);
  const plan: Sweep = { model, options, dtype: largest.plan.dtype, texts, tasks, stored, calibration };
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
  const gradients = options.methods.some(readsGradients);
  // No random tokens: all methods see what their papers do.
  const sums = { out, windows: calibration.windows, texts, window, memoryBytes, gradients, randomTokens: 0 };
  if (!existsSync(out)) sumWindows(model, sums, job);
  return openStatistics(out, model, ...options.methods);
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

function denseRow({ model, texts, tasks, job }: Run): SweepRow {
  const clock = stopwatch();
  const results = texts.map((text): TextResult => {
    const progress = (done: number) => {
      job.checkpoint();
      job.progress({ stage: `dense ${text.file}`, done: Math.floor(done), total: text.windows.length, unit: "window" });
    };
    return textResult(text, perplexity(model, text.windows, progress));
  });
  const answers = tasks.map((task) => evaluateTask(model, task, `dense ${task.file}`, job));
  return { parameters: model.parameters, bytes: model.bytes, ...scoresOf(results, answers), seconds: clock() };
}

function measureMethod(run: Run, method: string, cells: readonly CellPlan[]): void {
  const measurements = new Map(cells.map((cell) => [cell, new CellMeasurement(cell, run)]));
  const items = [...measurements.values()].flatMap((measurement) => measurement.items);
  const parts = passes(run.model, items, run.options);
  parts.forEach((part, i) => {
    const stage = parts.length > 1 ? `${method} ${i + 1}/${parts.length}` : method;
    measurePass(run, part, stage, measurements);
    for (const measurement of measurements.values()) {
      if (measurement.itemsLeft === 0 && !run.journal.has(method, measurement.cell.keep)) saveCell(run, measurement);
    }
  });
}

function measurePass(
  run: Run,
  items: readonly PassItem[],
  stage: string,
  measurements: ReadonlyMap<CellPlan, CellMeasurement>,
): void {
  const clock = stopwatch();
  const { model, options, statistics, job } = run;
  const { reports, spectra } = runPass({ model, options, statistics, items, job, stage });
  run.journal.addSpectra(spectra);
  const share = clock() / items.length;
  for (const { cell } of items) {
    const measurement = measurements.get(cell) as CellMeasurement;
    measurement.itemsLeft--;
    measurement.seconds += share;
    measurement.reports = reports.get(cell) ?? [];
  }
}

function saveCell({ journal }: Run, measurement: CellMeasurement): void {
  const { cell, seconds, reports } = measurement;
  const { method, summary } = cell.plan;
  const { keptProjections, keptTotal, parametersAfter, bytesAfter } = summary;
  journal.saveCell({
    ...{ method: method.name, keep: cell.keep, keptProjections, keptTotal, parameters: parametersAfter, bytes: bytesAfter },
    ...measurement.scores(),
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
