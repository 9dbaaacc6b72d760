/** From likelihoods to accuracies and their standard errors, as lm-evaluation-harness reports them. */
import type { Likelihood } from "./loglikelihood.ts";
import type { Metric, Question } from "./tasks/task.ts";

export interface Score {
  readonly acc: number;
  /** Standard error of the mean over the rows (sample variance); null for a single row. */
  readonly accStderr: number | null;
  /** Null where the task does not report it. */
  readonly accNorm: number | null;
  readonly accNormStderr: number | null;
  /** exp of the mean negative log-likelihood of a row's whole continuation; null where the task does not report it. */
  readonly perplexity: number | null;
}

/** @param likelihoods of each question's candidates, in order. */
export function scoreOf(
  questions: readonly Question[],
  likelihoods: readonly (readonly Likelihood[])[],
  metrics: readonly Metric[],
): Score {
  const each = <T>(score: (question: Question, likelihoods: readonly Likelihood[]) => T) =>
    questions.map((question, i) => score(question, likelihoods[i] as readonly Likelihood[]));
  const acc = each(isRight);
  const accNorm = metrics.includes("accNorm") ? each(isRightByCharacter) : undefined;
  const logProbabilities = each((_question, [first]) => (first as Likelihood).logProbability);
  return {
    acc: mean(acc),
    accStderr: standardError(acc),
    accNorm: accNorm ? mean(accNorm) : null,
    accNormStderr: accNorm ? standardError(accNorm) : null,
    perplexity: metrics.includes("perplexity") ? Math.exp(-mean(logProbabilities)) : null,
  };
}

/** 1 or 0. A single candidate is right when it is what the model would write. */
function isRight({ candidates, label }: Question, likelihoods: readonly Likelihood[]): number {
  if (candidates.length === 1) return Number(likelihoods[0]?.isGreedy === true);
  return Number(largest(likelihoods.map(({ logProbability }) => logProbability)) === label);
}

function isRightByCharacter(question: Question, likelihoods: readonly Likelihood[]): number {
  if (question.candidates.length === 1) return isRight(question, likelihoods);
  const scores = question.candidates.map(({ characters }, i) => (likelihoods[i] as Likelihood).logProbability / characters);
  return Number(largest(scores) === question.label);
}

/** Place of the largest, the first of equals. */
const largest = (values: readonly number[]) => values.indexOf(Math.max(...values));

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

export function standardError(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const center = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - center) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
}
