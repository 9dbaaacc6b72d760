/** What one cell of a sweep is measured on, as items for its passes, and what they have given so far. */
import { LikelihoodSums, questionGroups } from "../evaluate/loglikelihood.ts";
import { type Perplexity, perplexityOf, windowGroups, windowsNll } from "../evaluate/perplexity.ts";
import { embedRows, embedWindows } from "../models/forward.ts";
import { type EvaluationTask, taskResult } from "./evaluate-task.ts";
import type { EvaluationText } from "./evaluation-text.ts";
import type { ProjectionReport, TaskResult, TextResult } from "./results.ts";
import type { CellPlan, PassItem } from "./sweep-pass.ts";
import type { SweepRow } from "./sweep-results.ts";

/** What every cell is measured on. */
export interface Evaluations {
  readonly texts: readonly EvaluationText[];
  readonly tasks: readonly EvaluationTask[];
}

/** What a row of results says of the model. */
export type Scores = Pick<SweepRow, "texts" | "averagePerplexity" | "tasks" | "averageAccuracy">;

export class CellMeasurement {
  /** Groups of windows and of questions that `evaluate` too runs together. */
  readonly items: readonly PassItem[];
  itemsLeft: number;
  seconds = 0;
  reports: readonly ProjectionReport[] = [];
  /** Negative log-likelihood by text, summed over its windows. */
  private readonly nll: number[];
  private readonly sums: readonly LikelihoodSums[];

  constructor(
    readonly cell: CellPlan,
    private readonly on: Evaluations,
  ) {
    this.nll = on.texts.map(() => 0);
    this.sums = on.tasks.map(({ requests }) => new LikelihoodSums(requests));
    this.items = [
      ...on.texts.flatMap((text, i) => this.textItems(text, i)),
      ...on.tasks.flatMap((task, i) => this.taskItems(task, i)),
    ];
    this.itemsLeft = this.items.length;
  }

  /** Once no item is left. @throws NumericsError when a likelihood is not finite. */
  scores(): Scores {
    const texts = this.on.texts.map((text, i) => textResult(text, perplexityOf(this.nll[i] as number, text.windows)));
    const tasks = this.on.tasks.map((task, i) => taskResult(task, (this.sums[i] as LikelihoodSums).likelihoods()));
    return scoresOf(texts, tasks);
  }

  private textItems({ windows }: EvaluationText, text: number): PassItem[] {
    let next = 0;
    return windowGroups(windows).map((group): PassItem => {
      const first = next;
      next += group.length;
      return {
        cell: this.cell,
        tokens: group.reduce((sum, { length }) => sum + length, 0),
        embed: (model) => embedWindows(model, group),
        read: (model, head, batches) => {
          this.nll[text] = (this.nll[text] as number) + windowsNll(model, head, { batches, windows: group, first });
        },
      };
    });
  }

  private taskItems({ requests }: EvaluationTask, task: number): PassItem[] {
    return questionGroups(requests).map((group) => ({
      cell: this.cell,
      tokens: group.reduce((sum, { tokens }) => sum + tokens.length, 0),
      embed: (model) => embedRows(model, group),
      read: (model, head, batches) => this.sums[task]?.add(model, head, { group, batches }),
    }));
  }
}

export function scoresOf(texts: readonly TextResult[], tasks: readonly TaskResult[]): Scores {
  return {
    texts,
    averagePerplexity: mean(texts.map(({ perplexity }) => perplexity)),
    tasks,
    averageAccuracy: mean(tasks.map(({ acc }) => acc)),
  };
}

export function textResult({ file, tokens, windows }: EvaluationText, result: Perplexity): TextResult {
  return { file, tokens, windows: windows.length, window: windows[0]?.length ?? 0, ...result };
}

const mean = (values: readonly number[]) => (values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : null);
