/**
 * The contract of a task: how a row of its data set becomes a question, and what is reported. A question's candidates are
 * pairs of context and continuation; the model's answer is the one whose continuation is likeliest after its context.
 */
import type { Row } from "./row.ts";

/** acc: the likeliest candidate; accNorm: the likeliest by character of its choice; perplexity: of the continuations. */
export type Metric = "acc" | "accNorm" | "perplexity";

export interface Candidate {
  readonly context: string;
  readonly continuation: string;
  /** Characters (code points) of the choice, without the space before it: what acc_norm divides by. */
  readonly characters: number;
}

/** A question with one candidate asks whether its continuation is what the model would write. */
export interface Question {
  readonly candidates: readonly Candidate[];
  /** Place of the right candidate. */
  readonly label: number;
}

export interface Task {
  /** As the harness calls it: the name of the task's file or of its folder. */
  readonly name: string;
  readonly metrics: readonly Metric[];
  /** From the fields of the published data set. @throws FormatError naming the field that is missing or wrong. */
  question(row: Row): Question;
}

/** One context, several continuations: a space and a choice each. */
export function choose(context: string, choices: readonly string[], label: number): Question {
  const candidates = choices.map((choice) => ({ context, continuation: ` ${choice}`, characters: [...choice].length }));
  return { candidates, label };
}

/** Several contexts, one continuation. */
export function chooseContext(contexts: readonly string[], continuation: string, label: number): Question {
  const candidates = contexts.map((context) => ({
    context,
    continuation: ` ${continuation}`,
    characters: [...context].length,
  }));
  return { candidates, label };
}

/** A row that is prepared already: {context, choices, label}, or {context_options, continuation, label}. */
export function preparedQuestion(row: Row): Question | undefined {
  if (row.hasTexts("context_options") && row.hasText("continuation")) {
    const contexts = row.texts("context_options");
    return chooseContext(contexts, row.text("continuation"), row.index("label", contexts.length));
  }
  if (!row.hasText("context") || !row.hasTexts("choices")) return undefined;
  const choices = row.texts("choices");
  return choose(row.text("context"), choices, row.index("label", choices.length));
}
