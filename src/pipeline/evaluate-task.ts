/** One task's file: its questions put to the model, and how many it gets right. */
import { createHash } from "node:crypto";
import { UsageError } from "../errors.ts";
import { type Likelihood, loglikelihoods } from "../evaluate/loglikelihood.ts";
import type { Request } from "../evaluate/packing.ts";
import { requestOf, type Splitting } from "../evaluate/requests.ts";
import { scoreOf } from "../evaluate/score.ts";
import { readQuestions } from "../evaluate/tasks/questions.ts";
import { taskOf } from "../evaluate/tasks/registry.ts";
import type { Question, Task } from "../evaluate/tasks/task.ts";
import type { Model } from "../models/load.ts";
import type { Job } from "./job.ts";
import type { TaskResult } from "./results.ts";

export interface TaskOptions {
  /** Rows, from the first; all when absent. */
  readonly limit?: number | undefined;
  /** Whether prompts begin with the beginning-of-text token; `auto` does as the tokenizer does. */
  readonly bos: "auto" | "always" | "never";
}

/** A task's file, read and tokenised. */
export interface EvaluationTask {
  readonly file: string;
  readonly task: Task;
  /** Of the questions as they were read. */
  readonly sha256: string;
  readonly bos: boolean;
  readonly questions: readonly Question[];
  /** By question. */
  readonly requests: readonly (readonly Request[])[];
}

export function evaluationTask(model: Model, file: string, { limit, bos: when }: TaskOptions, job: Job): EvaluationTask {
  const task = taskOf(file);
  const bos = when === "auto" ? model.tokenizer.addsBos : when === "always";
  const questions = readQuestions(file, task, limit);
  const splitting = { tokenizer: model.tokenizer, bos, maxPositions: model.config.maxPositions };
  const requests = questions.map((question, i) => {
    job.checkpoint();
    job.progress({ stage: `tokenize ${file}`, done: i, total: questions.length, unit: "question" });
    return requestsOf(question, splitting, `${file}: question ${i + 1}`);
  });
  const sha256 = createHash("sha256").update(JSON.stringify(questions)).digest("hex");
  return { file, task, sha256, bos, questions, requests };
}

/** Puts a task's questions to the model. */
export function evaluateTask(model: Model, asked: EvaluationTask, stage: string, job: Job): TaskResult {
  const { questions, requests } = asked;
  const likelihoods = loglikelihoods(model, requests, (done) => {
    job.checkpoint();
    job.progress({ stage, done: Math.floor(done), total: questions.length, unit: "question" });
  });
  return taskResult(asked, likelihoods);
}

export function taskResult({ file, task, bos, questions }: EvaluationTask, likelihoods: readonly Likelihood[][]): TaskResult {
  return { file, task: task.name, rows: questions.length, bos, ...scoreOf(questions, likelihoods, task.metrics) };
}

function requestsOf({ candidates }: Question, splitting: Splitting, where: string): Request[] {
  try {
    return candidates.map(({ context, continuation }) => requestOf(context, continuation, splitting));
  } catch (error) {
    throw error instanceof UsageError ? new UsageError(`${where}, ${error.message}`) : error;
  }
}
