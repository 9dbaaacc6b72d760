/** `evaluate`: perplexity of a model on texts, and its accuracy on zero-shot tasks. */
import type { z } from "zod";
import { perplexity } from "../evaluate/perplexity.ts";
import { loadModel, type Model } from "../models/load.ts";
import { checkCard, writeMeasured } from "./card.ts";
import { evaluateTask, evaluationTask } from "./evaluate-task.ts";
import { evaluationText } from "./evaluation-text.ts";
import type { Job } from "./job.ts";
import { peakRssBytes, stopwatch } from "./measure.ts";
import type { evaluateOptions } from "./options.ts";
import type { EvaluateResult, TimedText } from "./results.ts";

type Options = z.output<typeof evaluateOptions>;

export async function evaluate(options: Options, job: Job): Promise<EvaluateResult> {
  const clock = stopwatch();
  const model = await loadModel(options.model, job);
  if (options.card) checkCard(model);
  const texts: TimedText[] = [];
  for (const file of options.texts) texts.push(await evaluateText(model, file, options, job));
  const tasks = options.tasks.map((file) =>
    evaluateTask(model, evaluationTask(model, file, options, job), `evaluate ${file}`, job),
  );
  const { parameters, bytes } = model;
  const measured = { model: model.source, parameters, bytes, texts, tasks, seconds: clock(), peakRssBytes: peakRssBytes() };
  if (options.card) job.note(`written: ${writeMeasured(model, measured)}`);
  return measured;
}

function evaluateText(model: Model, file: string, options: Options, job: Job): TimedText {
  const { tokens, windows } = evaluationText(model, file, options, job);
  const progress = (done: number) => {
    job.checkpoint();
    job.progress({ stage: `evaluate ${file}`, done, total: windows.length, unit: "window" });
  };
  const clock = stopwatch();
  const measured = perplexity(model, windows, progress);
  return { file, tokens, windows: windows.length, window: options.window, ...measured, seconds: clock() };
}
