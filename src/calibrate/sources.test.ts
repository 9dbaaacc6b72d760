import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError, StorageError, UnsupportedError, UsageError } from "../errors.ts";
import { answeredPrompt as promptOf } from "../evaluate/tasks/questions.ts";
import { readJson } from "../formats/json.ts";
import { readTokenizer } from "../tokenizer/read-tokenizer.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { readText } from "./corpus.ts";
import { parseSource, readCalibration, readSource as readWith, shareOut } from "./sources.ts";

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const parquet = (name: string) => path(`test/golden/parquet/${name}.parquet`);
const folder = mkdtempSync(join(tmpdir(), "rankfold-sources-"));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | object[]): string {
  const file = join(folder, name);
  writeFileSync(file, typeof content === "string" ? content : content.map((row) => JSON.stringify(row)).join("\n"));
  return file;
}

const plain = readTokenizer(path("assets/pequod-5m"));
const chat = Tokenizer.fromJson(readJson(path("assets/pequod-5m/tokenizer.json")), {
  chat_template:
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
});
const readSource = (file: string, template?: Tokenizer) => readWith(file, { promptOf, ...(template ? { chat: template } : {}) });
const weights = (...list: number[]) => list.map((weight, i) => ({ file: `${i}.txt`, weight }));

describe("weights", () => {
  test.each([
    ["a.txt", { file: "a.txt", weight: 1 }],
    ["a.txt:2", { file: "a.txt", weight: 2 }],
    ["dir/a:b.txt:0.5", { file: "dir/a:b.txt", weight: 0.5 }],
    ["a:b.txt", { file: "a:b.txt", weight: 1 }],
  ])("%s", (source, parsed) => {
    expect(parseSource(source)).toEqual(parsed);
  });

  test("a file whose name ends in a number is that file", () => {
    const file = write("part:2", "text");
    expect(parseSource(file)).toEqual({ file, weight: 1 });
  });

  test.each([
    [weights(2, 1), 128, [85, 43]],
    [weights(1, 1, 1), 512, [171, 171, 170]],
    [weights(1, 1), 3, [2, 1]],
    [weights(0.1, 0.9), 10, [1, 9]],
    [weights(7), 5, [5]],
  ])("%j share %i windows", (sources, samples, shares) => {
    expect(shareOut(sources, samples)).toEqual(shares);
  });

  test("shares add up and are within one of proportional", () => {
    const sources = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sources, fc.integer({ min: 60, max: 500 }), (list, samples) => {
        const shares = shareOut(weights(...list), samples);
        const total = list.reduce((a, b) => a + b, 0);
        expect(shares.reduce((a, b) => a + b, 0)).toBe(samples);
        for (const [i, share] of shares.entries())
          expect(Math.abs(share - (samples * (list[i] as number)) / total)).toBeLessThan(1);
      }),
    );
  });

  test("no weight, or too little for one window, is refused", () => {
    expect(() => parseSource("a.txt:0")).toThrow(UsageError);
    expect(() => shareOut(weights(100, 1), 10)).toThrow("1.txt: none of the 10 windows");
  });
});

describe("windows", () => {
  const options = { tokenizer: plain, samples: 6, window: 8, chatTemplate: false, promptOf };
  const a = write("a.txt", "The whale swam away from the ship. ".repeat(40));
  const b = write("b.txt", "The Congress of the United States. ".repeat(40));

  test("come source after source, each sampled evenly over its own text", async () => {
    const { windows } = await readCalibration([`${a}:2`, b], options);
    const tokensOf = (file: string) => plain.encode(readText(file));
    const expected = [
      [a, 4],
      [b, 2],
    ].flatMap(([file, share]) => {
      const tokens = tokensOf(file as string);
      const count = Math.floor(tokens.length / 8);
      return Array.from({ length: share as number }, (_, i) => Math.floor((i * count) / (share as number)) * 8).map((at) =>
        tokens.slice(at, at + 8),
      );
    });
    expect(windows.map((window) => [...window])).toEqual(expected.map((window) => [...window]));
  });

  test("of one source hash as its text; of several, with weights and order", async () => {
    const hash = async (...sources: string[]) => (await readCalibration(sources, options)).sha256;
    expect(await hash(a)).toBe(createHash("sha256").update(readText(a)).digest("hex"));
    const hashes = await Promise.all([hash(a), hash(a, b), hash(b, a), hash(`${a}:2`, b)]);
    expect(new Set(hashes).size).toBe(4);
  });

  test("a text that is too short is named", async () => {
    const short = write("short.txt", "The whale.");
    await expect(readCalibration([a, short], options)).rejects.toThrow(`${short}: 3 windows of 8 tokens were asked for`);
  });
});

describe("a mixture of tasks", () => {
  const question = (i: number, words: number) => ({ context: "The whale ".repeat(words), choices: [`swam ${i}.`], label: 0 });
  const long = write(
    "long.jsonl",
    Array.from({ length: 9 }, (_, i) => question(i, 20)),
  );
  const short = write(
    "short.jsonl",
    Array.from({ length: 5 }, (_, i) => question(i, i + 1)),
  );
  const options = { tokenizer: plain, samples: 6, window: 16, chatTemplate: false, promptOf };

  test("gives equal parts, each prompt a window of its own length, cut at the window", async () => {
    const { windows } = await readCalibration([long, short], options);
    const prompts = [...((await readSource(long)) as string[]), ...((await readSource(short)) as string[])];
    const expected = [0, 3, 6, 9 + 0, 9 + 1, 9 + 3].map((i) => plain.encode(prompts[i] as string).slice(0, 16));
    expect(windows.map((window) => [...window])).toEqual(expected.map((window) => [...window]));
    expect(new Set(windows.map(({ length }) => length)).size).toBeGreaterThan(2);
  });

  test("mixes with texts", async () => {
    const text = write("mixed.txt", "The whale swam away from the ship. ".repeat(40));
    const { windows } = await readCalibration([text, short], options);
    expect(windows.slice(0, 3).map(({ length }) => length)).toEqual([16, 16, 16]);
  });

  test("too few prompts, or an empty one, are refused", async () => {
    await expect(readCalibration([short], options)).rejects.toThrow(`${short}: 6 prompts were asked for, the file holds 5`);
    const empty = write("empty.jsonl", [{ context: "", choices: [""], label: 0 }]);
    await expect(readCalibration([empty], { ...options, samples: 1 })).rejects.toThrow(FormatError);
  });
});

describe("rows", () => {
  test("text goes first, then the right choice after its context", async () => {
    const rows = [
      { text: "One.", context: "x", choices: ["y"], label: 0 },
      { context: "The sea is", choices: ["dry", "wet"], label: 1 },
      { context: "", choices: ["Ann ran.", "Sue ran."], label: 0 },
    ];
    expect(await readSource(write("rows.jsonl", rows))).toBe("One.\n\nThe sea is wet\n\nAnn ran.");
  });

  test("that all are a task's stay apart, prepared or as the data set has them", async () => {
    const prepared = [
      { context: "The sea is", choices: ["dry", "wet"], label: 1 },
      { context: "", choices: ["Ann ran.", "Sue ran."], label: 0 },
    ];
    expect(await readSource(write("prepared.jsonl", prepared))).toEqual(["The sea is wet", "Ann ran."]);
    const published = [{ goal: "Keep warm", sol1: "a coat", sol2: "a kite", label: 0 }];
    expect(await readSource(write("piqa.jsonl", published))).toEqual(["Question: Keep warm\nAnswer: a coat"]);
    await expect(readSource(write("boolq.jsonl", published))).rejects.toThrow('line 1, "passage": expected a text');
  });

  test("conversations go through the chat template, complete and one after the other", async () => {
    const rows = [
      {
        messages: [
          { role: "user", content: "Hi" },
          { role: "assistant", content: "Hello" },
        ],
      },
      { instruction: "Add", input: "1, 2", output: "3", text: "never mind" },
      { text: "Plain." },
    ];
    const text = "[user]Hi\n[assistant]Hello\n[user]Add\n\n1, 2\n[assistant]3\nPlain.";
    expect(await readSource(write("chat.jsonl", rows), chat)).toBe(text);
  });

  test.each([
    [
      [{ messages: [{ role: "user", content: "Hi" }] }],
      'line 1 has no "text" field, only messages; render conversations with --chat-template',
    ],
    [[{ text: "a" }, { body: "b" }], 'line 2 has no "text" field, only body'],
    [[{ context: "a", choices: ["b"], label: 3 }], 'line 1, "label": expected a whole number from 0 to 0, got 3'],
    [[], "expected rows of text, found none"],
  ])("%j is refused", async (rows, message) => {
    const file = write("bad.jsonl", rows);
    await expect(readSource(file)).rejects.toThrow(FormatError);
    await expect(readSource(file)).rejects.toThrow(`${file}: ${message}`);
  });

  test("a model without a chat template is refused", async () => {
    const file = write("talk.jsonl", [{ messages: [{ role: "user", content: "Hi" }] }]);
    await expect(readSource(file, plain)).rejects.toThrow(UnsupportedError);
  });
});

describe("Parquet", () => {
  test.each(["snappy", "gzip", "brotli"])("%s", async (codec) => {
    expect(await readSource(parquet(codec))).toBe("The whale swam away.\n\n\n\nThe treaty — naïve 中文 — was signed.");
  });

  test("rows without a column of text are read as a task's", async () => {
    expect(await readSource(parquet("task-rows"))).toEqual(["The sea is wet", "Ice is cold"]);
  });

  test("a compression that cannot be read is named", async () => {
    await expect(readSource(parquet("lz4"))).rejects.toThrow(/lz4.parquet: .*LZ4/);
  });

  test("what is no Parquet file, or not there, is refused", async () => {
    await expect(readSource(write("broken.parquet", "not parquet at all"))).rejects.toThrow(FormatError);
    await expect(readSource(write("empty.parquet", ""))).rejects.toThrow(FormatError);
    await expect(readSource(join(folder, "nowhere.parquet"))).rejects.toThrow(StorageError);
  });
});
