import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { InterruptedError, UsageError } from "../errors.ts";
import { loadModel } from "../models/load.ts";
import { loglikelihoods } from "./loglikelihood.ts";
import { packQuestions, type Request, sharedLength } from "./packing.ts";
import { requestOf } from "./requests.ts";

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const model = await loadModel(path("assets/pequod-5m"));
const splitting = { tokenizer: model.tokenizer, bos: false, maxPositions: model.config.maxPositions };

interface Golden {
  readonly context: string;
  readonly continuations: [text: string, logProbability: number, isGreedy: boolean][];
}
const golden: Golden[] = JSON.parse(readFileSync(path("test/golden/tasks.json"), "utf8"));
const requests = golden.map(({ context, continuations }) => continuations.map(([text]) => requestOf(context, text, splitting)));
const ids = (...tokens: number[]) => Uint32Array.from(tokens);

describe("log-likelihoods agree with lm-evaluation-harness", () => {
  const likelihoods = loglikelihoods(model, requests);
  test.each(golden.map(({ context }, i) => [context.slice(0, 40), i] as const))("after %j", (_context, i) => {
    golden[i]?.continuations.forEach(([, logProbability, isGreedy], j) => {
      const got = likelihoods[i]?.[j];
      expect(Math.abs((got?.logProbability ?? Number.NaN) - logProbability)).toBeLessThan(1e-3);
      expect(got?.isGreedy).toBe(isGreedy);
    });
  });
});

test("a question alone scores as it does among others", () => {
  const together = loglikelihoods(model, requests);
  for (const [i, question] of requests.entries()) {
    const [alone] = loglikelihoods(model, [question]);
    alone?.forEach(({ logProbability }, j) => {
      expect(logProbability).toBeCloseTo(together[i]?.[j]?.logProbability ?? Number.NaN, 4);
    });
  }
});

test("an interruption between batches leaves the loop at once", () => {
  const interrupt = () => {
    throw new InterruptedError("interrupted");
  };
  expect(() => loglikelihoods(model, requests, interrupt)).toThrow(InterruptedError);
});

describe("requests", () => {
  test("begin with the beginning-of-text token where it is asked for, once", () => {
    const { bosId } = model.tokenizer;
    const [plain, begun, twice] = [false, true, true].map((bos, i) =>
      requestOf(`${i === 2 ? "<|endoftext|>" : ""}The whale`, " swam", { ...splitting, bos }),
    ) as [Request, Request, Request];
    expect([...begun.context]).toEqual([bosId, ...plain.context]);
    expect(twice).toEqual(begun);
  });

  test("without a token to predict, or with more than the model sees, are refused", () => {
    expect(() => requestOf("The whale", "", splitting)).toThrow(UsageError);
    expect(() => requestOf("The whale", " swam away", { ...splitting, maxPositions: 1 })).toThrow("1 to 1 tokens");
  });
});

describe("packing", () => {
  test("what sequences begin with alike ends at the first difference or at the end of one", () => {
    expect(sharedLength([ids(1, 2, 3), ids(1, 2, 4), ids(1, 2)])).toBe(2);
    expect(sharedLength([ids(1, 2), ids(1, 2, 3)])).toBe(2);
    expect(sharedLength([ids(1), ids(2)])).toBe(0);
  });

  test("a shared context takes its rows once, and one-token choices take none", () => {
    const choice = (...continuation: number[]): Request => ({ context: ids(1, 2, 3), continuation: ids(...continuation) });
    const [packing] = packQuestions([[choice(4), choice(5, 6), choice(7, 8, 9)]], 100);
    expect(packing).toEqual({
      tokens: ids(1, 2, 3, 5, 7, 8),
      positions: ids(0, 1, 2, 3, 3, 4),
      spans: [
        { start: 0, end: 3 },
        { start: 3, end: 4, prefix: { start: 0, end: 3 } },
        { start: 4, end: 6, prefix: { start: 0, end: 3 } },
      ],
      predictions: [
        { row: 2, token: 4, request: 0 },
        { row: 2, token: 5, request: 1 },
        { row: 3, token: 6, request: 1 },
        { row: 2, token: 7, request: 2 },
        { row: 4, token: 8, request: 2 },
        { row: 5, token: 9, request: 2 },
      ],
    });
  });

  test("a new batch begins once the last one is full", () => {
    const question: Request[] = [{ context: ids(1, 2, 3), continuation: ids(4) }];
    expect(packQuestions([question, question, question], 4).map(({ tokens }) => tokens.length)).toEqual([6, 3]);
  });
});
