import { expect, test } from "vitest";
import { type CardFacts, renderModelCard, withMeasured } from "./model-card.ts";

const FACTS: CardFacts = {
  model: "ahab/pequod@0123456789abcdef0123456789abcdef01234567",
  method: "nsvd-i",
  keep: 0.8,
  keptProjections: 0.799,
  keptTotal: 0.85,
  parameters: 4_000_000,
  bytes: 8_000_000,
  version: "0.1.0",
  options: { allocate: "uniform", samples: 128, window: 512, calibration: ["a.txt", "b.jsonl:2"] },
  calibrationSha256: "ab12",
  recipe: "as asked for",
  gains: [
    { kind: "q_proj", becomes: "factors", modules: 6, parametersSaved: 12_345, divergence: 0.01234 },
    { kind: "channels", becomes: "narrower", modules: 2, parametersSaved: 600, divergence: null },
  ],
};
const card = renderModelCard(FACTS, { parametersBefore: 5_000_000 });
const text = { file: "some/where/wiki.txt", tokens: 4096, windows: 4, window: 1024, perplexity: 23.4761 };
const task = { file: "some/piqa/validation.jsonl", task: "piqa", rows: 100, acc: 0.625 };

test("the card says how the model was made, and how to load it", () => {
  for (const said of [
    "base_model: ahab/pequod\n",
    "`nsvd-i`, allocation `uniform`",
    "| recipe | as asked for |",
    "| q_proj | 6 | factors | 12,345 | 0.0123 |",
    "| channels | 2 | narrower | 600 | not measured |",
    "4,000,000 of 5,000,000 (85.0 %)",
    "128 windows of 512 tokens of `a.txt`, `b.jsonl:2` (SHA-256 `ab12`)",
    "AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)",
    "AutoTokenizer.from_pretrained(folder, trust_remote_code=True)", // else transformers 5 asks, and waits for an answer
    "rankfold export . --to onnx",
  ])
    expect(card).toContain(said);
  expect(card).not.toContain("## Measured");
});

test("random tokens beside the text are named", () => {
  const options = { ...FACTS.options, randomTokens: 0.125 };
  expect(renderModelCard({ ...FACTS, options }, { parametersBefore: 5_000_000 })).toContain(
    "(SHA-256 `ab12`), and 16 of random tokens.",
  );
});

test("a model from a folder names no base model; a data-free method no calibration", () => {
  const plain = renderModelCard({ ...FACTS, model: "pequod-5m", calibrationSha256: null }, { parametersBefore: 5_000_000 });
  expect(plain).not.toContain("base_model");
  expect(plain).toContain("Calibration: None; the method is data-free.");
});

test("measured figures come between the markers, in place of earlier ones, without folders", () => {
  const first = withMeasured(card, { texts: [text], tasks: [], version: "0.1.0" });
  expect(first).toContain("| wiki.txt | 4096 | 4 x 1024 tokens | 23.48 |");
  expect(first).not.toContain("some/where");
  const second = withMeasured(first, { texts: [{ ...text, perplexity: 20 }], tasks: [task], version: "0.1.0" });
  expect(second).not.toContain("23.48");
  expect(second).toContain("| piqa | 100 | 62.50 % |");
  expect(second.split("## Measured")).toHaveLength(2);
  expect(second.replace(/(<!-- rankfold: measured -->\n)[\s\S]*?(<!-- rankfold: end)/, "$1$2")).toBe(card);
});

test("a card without markers gets them at its end", () => {
  expect(withMeasured("# Mine\n", { texts: [text], tasks: [], version: "0.1.0" })).toMatch(
    /^# Mine\n\n<!-- rankfold: measured -->/,
  );
});
