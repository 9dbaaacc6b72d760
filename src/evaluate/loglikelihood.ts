/**
 * Log-likelihoods of continuations after their contexts, block by block over many questions at once: what multiple-choice
 * tasks compare. Log-softmax f32, sums f64. The requests of one question share what they begin with, which is computed once.
 */
import { NumericsError } from "../errors.ts";
import {
  BATCH_TOKENS,
  type Batch,
  disposeBatches,
  embedRows,
  forwardBatches,
  type Head,
  LOGIT_ROWS,
  logitsOf,
  readHead,
} from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { likeliest, negativeLogLikelihood, scope, type Tensor } from "../tensor/index.ts";
import { type Packing, type Prediction, packQuestions, type Request } from "./packing.ts";

/** Tokens that go through the blocks together: bounds the residual stream in memory, and amortises reading the weights. */
const GROUP_TOKENS = 32_768;

export interface Likelihood {
  /** Sum of the log-probabilities of the continuation's tokens, natural logarithm. */
  readonly logProbability: number;
  /** Whether every token of the continuation was the likeliest one. */
  readonly isGreedy: boolean;
}

/**
 * @param questions requests that are compared with each other; each holds a token of context and one of continuation at least.
 * @param progress told how many questions' worth of work is done.
 * @returns for each question, the likelihoods of its requests.
 * @throws NumericsError when a likelihood is not finite.
 */
export function loglikelihoods(
  model: Model,
  questions: readonly (readonly Request[])[],
  progress: (questionsDone: number) => void = () => {},
): Likelihood[][] {
  const sums = new LikelihoodSums(questions);
  const groups = questionGroups(questions);
  const packings = groups.flat().length;
  let done = 0;
  for (const group of groups) {
    const share = (questions.length * group.length) / packings;
    scoreGroup(model, group, sums, (fraction) => progress(done + fraction * share));
    done += share;
  }
  return sums.likelihoods();
}

/** Questions packed in batches, in groups that go through the blocks together. */
export function questionGroups(questions: readonly (readonly Request[])[]): Packing[][] {
  const groups: Packing[][] = [];
  let rows = Number.POSITIVE_INFINITY;
  for (const packing of packQuestions(questions, BATCH_TOKENS)) {
    rows += packing.tokens.length;
    if (rows > GROUP_TOKENS) {
      groups.push([]);
      rows = packing.tokens.length;
    }
    groups.at(-1)?.push(packing);
  }
  return groups;
}

function scoreGroup(model: Model, group: readonly Packing[], sums: LikelihoodSums, progress: (fraction: number) => void): void {
  const batches = embedRows(model, group);
  const steps = batches.length * (model.config.blocks + 1);
  let step = 0;
  const between = () => progress(step++ / steps);
  try {
    forwardBatches(model, batches, between);
    scope(() => sums.add(model, readHead(model), { group, batches }, between));
  } finally {
    disposeBatches(batches);
  }
}

/** A group of questions behind the last block. */
export interface Answered {
  readonly group: readonly Packing[];
  readonly batches: readonly Batch[];
}

/** The likelihoods of all requests, as their groups come in. */
export class LikelihoodSums {
  private readonly sums: { logProbability: number; isGreedy: boolean }[];

  constructor(private readonly questions: readonly (readonly Request[])[]) {
    this.sums = questions.flatMap((question) => question.map(() => ({ logProbability: 0, isGreedy: true })));
  }

  add(model: Model, head: Head, { group, batches }: Answered, between: () => void = () => {}): void {
    group.forEach(({ predictions }, i) => {
      between();
      this.addPredictions(model, head, (batches[i] as Batch).stream.read(), predictions);
    });
  }

  /** By question. @throws NumericsError when one is not finite. */
  likelihoods(): Likelihood[][] {
    const bad = this.sums.findIndex(({ logProbability }) => !Number.isFinite(logProbability));
    if (bad >= 0)
      throw new NumericsError(`request ${bad}: its likelihood is not finite; the model's weights do not fit this text`);
    let at = 0;
    return this.questions.map((question) => {
      at += question.length;
      return this.sums.slice(at - question.length, at);
    });
  }

  /** Adds the log-probabilities of a batch's predictions to their requests' sums. */
  private addPredictions(model: Model, head: Head, x: Tensor, predictions: readonly Prediction[]): void {
    const rows = [...new Set(predictions.map(({ row }) => row))];
    for (let start = 0; start < rows.length; start += LOGIT_ROWS) {
      const place = new Map(rows.slice(start, start + LOGIT_ROWS).map((row, i) => [row, i]));
      const read = predictions.filter(({ row }) => place.has(row));
      const at = read.map(({ row }) => place.get(row) as number);
      scope(() => {
        const logits = logitsOf(model, head, x.selectRows([...place.keys()])); // rows x v
        const nll = negativeLogLikelihood(
          logits.selectRows(at),
          Uint32Array.from(read, ({ token }) => token),
        );
        const best = likeliest(logits);
        read.forEach(({ token, request }, i) => {
          const sum = this.sums[request];
          if (!sum) return;
          sum.logProbability -= nll[i] as number;
          sum.isGreedy &&= best[at[i] as number] === token;
        });
      });
    }
  }
}
