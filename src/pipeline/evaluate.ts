/** `evaluate`: perplexity of a model on texts, and its accuracy on zero-shot tasks. */
import type { z } from "zod";
import { readText, windowsOf } from "../calibrate/corpus.ts";
import { UsageError } from "../errors.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import { loadModel, type Model } from "../models/load.ts";
import { evaluateTask } from "./evaluate-task.ts";
import type { Job } from "./job.ts";
import { peakRssBytes, stopwatch } from "./measure.ts";
import type { evaluateOptions } from "./options.ts";
import type { EvaluateResult, TextResult } from "./results.ts";

type Options = z.output<typeof evaluateOptions>;

export async function evaluate(options: Options, job: Job): Promise<EvaluateResult> {
  const clock = stopwatch();
  const model = await loadModel(options.model);
  const texts = options.texts.map((file) => evaluateText(model, file, options, job));
  const tasks = options.tasks.map((file) => evaluateTask(model, file, options, job));
  const { parameters, bytes } = model;
  return { model: options.model, parameters, bytes, texts, tasks, seconds: clock(), peakRssBytes: peakRssBytes() };
}

function evaluateText(model: Model, file: string, { window, maxWindows }: Options, job: Job): TextResult {
  job.progress({ stage: `tokenize ${file}`, done: 0, total: 1, unit: "text" });
  const tokens = model.tokenizer.encode(readText(file));
  const windows = windowsOf(tokens, window).slice(0, maxWindows);
  if (windows.length === 0)
    throw new UsageError(
      `${file}: its ${tokens.length} tokens are fewer than one window of ${window}; give a longer text or a smaller --window`,
    );
  const progress = (done: number) => {
    job.checkpoint();
    job.progress({ stage: `evaluate ${file}`, done, total: windows.length, unit: "window" });
  };
  return { file, tokens: tokens.length, windows: windows.length, window, ...perplexity(model, windows, progress) };
}
