import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError } from "../../errors.ts";
import { scoreOf, standardError } from "../score.ts";
import { multipleChoice } from "./multiple-choice.ts";
import { readQuestions } from "./questions.ts";
import { taskOf, tasks } from "./registry.ts";
import { Row } from "./row.ts";
import { choose, preparedQuestion, type Task } from "./task.ts";

const folder = mkdtempSync(join(tmpdir(), "rankfold-tasks-"));
afterAll(() => rmSync(folder, { recursive: true }));

const row = (fields: Record<string, unknown>) => new Row(fields, "file.jsonl", 7);
const named = (name: string) => tasks.find((task) => task.name === name) as Task;

test("every task has a file of its name", () => {
  const shared = ["arc.ts", "multiple-choice.ts", "questions.ts", "registry.ts", "row.ts", "task.ts"];
  const files = readdirSync(new URL(".", import.meta.url)).filter((file) => !file.endsWith(".test.ts") && !shared.includes(file));
  expect(files.sort()).toEqual(tasks.map(({ name }) => `${name.replaceAll("_", "-")}.ts`).sort());
});

test.each([
  ["data/piqa/test.jsonl", "piqa"],
  ["arc-easy_validation.jsonl", "arc_easy"],
  ["arc_challenge.jsonl", "arc_challenge"],
  ["boolq/winogrande.jsonl", "winogrande"],
  ["piqalike/test.jsonl", "multiple_choice"],
  ["own.jsonl", "multiple_choice"],
])("%s is %s", (file, name) => {
  expect(taskOf(file).name).toBe(name);
});

describe("rows of the published data sets become the harness's prompts", () => {
  const choices = { text: ["sand", "salt"], label: ["A", "B"] };
  test.each([
    ["piqa", { goal: "Keep warm", sol1: "a coat", sol2: "a kite", label: 0 }, "Question: Keep warm\nAnswer:", " a coat"],
    [
      "boolq",
      { passage: "Ice is cold.", question: "is ice cold", label: 1 },
      "Ice is cold.\nQuestion: is ice cold?\nAnswer:",
      " yes",
    ],
    ["boolq", { passage: "Ice.", question: "is ice hot", answer: false }, "Ice.\nQuestion: is ice hot?\nAnswer:", " no"],
    ["arc_easy", { question: "What is salty?", choices, answerKey: "B" }, "Question: What is salty?\nAnswer:", " salt"],
    ["openbookqa", { question_stem: "The sea has", choices, answerKey: " B" }, "The sea has", " salt"],
    [
      "winogrande",
      { sentence: "Ann beat Sue as _ ran fast .", option1: "Ann", option2: "Sue", answer: "1" },
      "Ann beat Sue as Ann",
      " ran fast .",
    ],
    ["lambada", { text: "He lit the old lamp" }, "He lit the old", " lamp"],
    [
      "hellaswag",
      {
        activity_label: "Baking",
        ctx_a: "[header] How to bake [title] Mix",
        ctx_b: "the OLD cook  then",
        endings: ["stirs [step] it", "flies"],
        label: "0",
      },
      "Baking: How to bake. Mix The old cook then",
      " stirs it",
    ],
  ])("%s", (name, fields, context, continuation) => {
    const { candidates, label } = named(name).question(row(fields));
    expect(candidates[label]).toMatchObject({ context, continuation });
  });
});

test("prepared rows need no task, and count the characters of a choice by code points", () => {
  const question = preparedQuestion(row({ context: "Who?", choices: ["né 😀", "b"], label: 0 }));
  expect(question?.candidates[0]).toEqual({ context: "Who?", continuation: " né 😀", characters: 4 });
  const blank = preparedQuestion(row({ context: "", choices: ["x"], context_options: ["a", "b"], continuation: "c", label: 1 }));
  expect(blank?.candidates).toMatchObject([{ context: "a", continuation: " c" }, { context: "b" }]);
});

describe("a row that cannot be read is named", () => {
  test.each([
    [() => named("piqa").question(row({ goal: "x", sol1: "y" })), 'line 7, "sol2": expected a text, got nothing'],
    [
      () => preparedQuestion(row({ context: "a", choices: ["b"], label: 1 })),
      '"label": expected a whole number from 0 to 0, got 1',
    ],
    [() => multipleChoice.question(row({ context: "a" })), '"choices": expected a row of context, choices and label'],
    [() => named("winogrande").question(row({ sentence: "no gap" })), "a text with a blank"],
    [
      () => named("arc_easy").question(row({ question: "q", choices: { text: ["x"], label: ["A"] }, answerKey: "E" })),
      '"answerKey": expected one of A, got "E"',
    ],
  ])("%#", (read, message) => {
    expect(read).toThrow(FormatError);
    expect(read).toThrow(message);
  });

  test("by file and line", () => {
    const file = join(folder, "broken.jsonl");
    writeFileSync(file, '{"context": "a", "choices": ["b"], "label": 0}\n\n{"context"\n');
    expect(readQuestions(file, multipleChoice, 1)).toHaveLength(1);
    expect(() => readQuestions(file, multipleChoice)).toThrow(`${file}: line 3 is not JSON`);
    writeFileSync(file, "\n");
    expect(() => readQuestions(file, multipleChoice)).toThrow("found none");
  });
});

describe("scores", () => {
  const likelihood = (logProbability: number, isGreedy = false) => ({ logProbability, isGreedy });

  test("acc takes the likeliest, acc_norm the likeliest by character, the first of equals", () => {
    const questions = [choose("c", ["short", "a much longer choice"], 1), choose("c", ["one", "two"], 0)];
    const likelihoods = [
      [likelihood(-5), likelihood(-10)],
      [likelihood(-3), likelihood(-3)],
    ];
    expect(scoreOf(questions, likelihoods, ["acc", "accNorm"])).toEqual({
      acc: 0.5,
      accStderr: 0.5,
      accNorm: 1,
      accNormStderr: 0,
      perplexity: null,
    });
  });

  test("a single target is right when it is greedy, and has a perplexity", () => {
    const questions = [choose("c", ["lamp"], 0), choose("c", ["whale"], 0)];
    const score = scoreOf(questions, [[likelihood(-1, true)], [likelihood(-3)]], ["acc", "perplexity"]);
    expect(score).toMatchObject({ acc: 0.5, accNorm: null, perplexity: Math.exp(2) });
  });

  test("the standard error is that of a mean with the sample variance", () => {
    expect(standardError([1, 0, 1, 1])).toBeCloseTo(Math.sqrt(0.25 / 4), 12);
    expect(standardError([1])).toBeNull();
  });
});
