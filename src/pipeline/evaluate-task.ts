/** One task's file: its questions put to the model, and how many it gets right. */
import { UsageError } from "../errors.ts";
import { loglikelihoods } from "../evaluate/loglikelihood.ts";
import type { Request } from "../evaluate/packing.ts";
import { requestOf, type Splitting } from "../evaluate/requests.ts";
import { scoreOf } from "../evaluate/score.ts";
import { readQuestions } from "../evaluate/tasks/questions.ts";
import { taskOf } from "../evaluate/tasks/registry.ts";
import type { Question } from "../evaluate/tasks/task.ts";
import type { Model } from "../models/load.ts";
import type { Job } from "./job.ts";
import type { TaskResult } from "./results.ts";

export interface TaskOptions {
  /** Rows, from the first; all when absent. */
  readonly limit?: number | undefined;
  /** Whether prompts begin with the beginning-of-text token; `auto` does as the tokenizer does. */
  readonly bos: "auto" | "always" | "never";
}

export function evaluateTask(model: Model, file: string, { limit, bos: when }: TaskOptions, job: Job): TaskResult {
  const task = taskOf(file);
  const bos = when === "auto" ? model.tokenizer.addsBos : when === "always";
  const questions = readQuestions(file, task, limit);
  const splitting = { tokenizer: model.tokenizer, bos, maxPositions: model.config.maxPositions };
  const requests = questions.map((question, i) => {
    job.checkpoint();
    job.progress({ stage: `tokenize ${file}`, done: i, total: questions.length, unit: "question" });
    return requestsOf(question, splitting, `${file}: question ${i + 1}`);
  });
  const likelihoods = loglikelihoods(model, requests, (done) => {
    job.checkpoint();
    job.progress({ stage: `evaluate ${file}`, done: Math.floor(done), total: questions.length, unit: "question" });
  });
  return { file, task: task.name, rows: questions.length, bos, ...scoreOf(questions, likelihoods, task.metrics) };
}

function requestsOf({ candidates }: Question, splitting: Splitting, where: string): Request[] {
  try {
    return candidates.map(({ context, continuation }) => requestOf(context, continuation, splitting));
  } catch (error) {
    throw error instanceof UsageError ? new UsageError(`${where}, ${error.message}`) : error;
  }
}
