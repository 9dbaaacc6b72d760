import { expect, test } from "vitest";
import { shortNames, taskNames } from "./short-names.ts";

test.each([
  [
    ["data/a.txt", "other/b.jsonl:2"],
    ["a.txt", "b.jsonl:2"],
  ],
  [
    ["piqa/test.jsonl", "x/boolq/test.jsonl:0.5", "c.txt"],
    ["piqa/test.jsonl", "boolq/test.jsonl:0.5", "c.txt"],
  ],
])("%j are called %j", (sources, names) => {
  expect(shortNames(sources)).toEqual(names);
});

test("tasks go by their names, by their files' where those are shared", () => {
  const [piqa, own, other] = ["piqa", "multiple_choice", "multiple_choice"].map((task, i) => ({ task, file: `${i}.jsonl` }));
  if (!piqa || !own || !other) throw new Error("three tasks");
  expect(taskNames([piqa, own])).toEqual(["piqa", "multiple_choice"]);
  expect(taskNames([own, other])).toEqual(["1.jsonl", "2.jsonl"]);
});
