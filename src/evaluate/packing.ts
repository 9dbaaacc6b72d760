/**
 * Token sequences of unequal length laid out in the rows of a batch. The sequences of one question begin alike, so what
 * they share is laid out once, and each sequence's own tokens see it as their prefix. Padding is never needed.
 */
import type { Rows } from "../models/forward.ts";
import type { RowRange, Span } from "../models/model.ts";

/** Tokens given, and tokens whose likelihood after them is asked for. */
export interface Request {
  readonly context: Uint32Array;
  readonly continuation: Uint32Array;
}

/** A row of a batch that predicts a token of a request. */
export interface Prediction {
  readonly row: number;
  readonly token: number;
  /** Place of the request's likelihood in the group's list. */
  readonly request: number;
}

/** Rows of one forward pass, and what is read from the logits. */
export interface Packing extends Rows {
  readonly predictions: readonly Prediction[];
}

/** Lays out questions one after the other, a new batch whenever `batchTokens` rows are passed; requests are numbered in order. */
export function packQuestions(questions: readonly (readonly Request[])[], batchTokens: number): Packing[] {
  const builders: PackingBuilder[] = [];
  let request = 0;
  for (const question of questions) {
    const open = builders.at(-1);
    const builder = open && open.rows < batchTokens ? open : new PackingBuilder();
    if (builder !== open) builders.push(builder);
    builder.add(question, request);
    request += question.length;
  }
  return builders.map((builder) => builder.build());
}

/** The tokens a model is given to predict a request: all but the last. */
export function inputOf({ context, continuation }: Request): Uint32Array {
  return Uint32Array.from([...context, ...continuation.subarray(0, -1)]);
}

/** Number of tokens that all sequences begin with. */
export function sharedLength(sequences: readonly Uint32Array[]): number {
  const [first = new Uint32Array()] = sequences;
  const differs = first.findIndex((token, i) => sequences.some((other) => other[i] !== token));
  return differs < 0 ? first.length : differs;
}

class PackingBuilder {
  private readonly tokens: number[] = [];
  private readonly positions: number[] = [];
  private readonly spans: Span[] = [];
  private readonly predictions: Prediction[] = [];

  get rows(): number {
    return this.tokens.length;
  }

  add(question: readonly Request[], firstRequest: number): void {
    const inputs = question.map(inputOf);
    const shared = sharedLength(inputs);
    const prefix = this.lay((inputs[0] as Uint32Array).subarray(0, shared), 0);
    question.forEach((request, i) => {
      const input = inputs[i] as Uint32Array;
      const own = this.lay(input.subarray(shared), shared, prefix);
      const rowOf = (position: number) => (position < shared ? prefix.start + position : own.start + position - shared);
      const first = input.length - request.continuation.length;
      request.continuation.forEach((token, j) => {
        this.predictions.push({ row: rowOf(first + j), token, request: firstRequest + i });
      });
    });
  }

  /** Appends tokens that stand from `position` on; a span without tokens is left out. */
  private lay(tokens: Uint32Array, position: number, prefix?: RowRange): RowRange {
    const range = { start: this.rows, end: this.rows + tokens.length };
    tokens.forEach((token, i) => {
      this.tokens.push(token);
      this.positions.push(position + i);
    });
    if (tokens.length > 0) this.spans.push(prefix && position > 0 ? { ...range, prefix } : range);
    return range;
  }

  build(): Packing {
    const { spans, predictions } = this;
    return { tokens: Uint32Array.from(this.tokens), positions: Uint32Array.from(this.positions), spans, predictions };
  }
}
