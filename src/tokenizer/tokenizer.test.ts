/** Token ids are those of the reference implementation, and nothing of a text is lost. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError, UnsupportedError } from "../errors.ts";
import { Metadata } from "../formats/gguf-metadata.ts";
import { tokenizerJson } from "../formats/gguf-tokenizer.ts";
import { readJson } from "../formats/json.ts";
import { renderChat } from "./chat.ts";
import { exactPreTokenizer } from "./pre-tokenizer.ts";
import { readTokenizer } from "./read-tokenizer.ts";
import { Tokenizer } from "./tokenizer.ts";

const REPOSITORY = new URL("../../", import.meta.url).pathname;
const MODEL = ["assets/pequod-5m", "../shared/models/pequod-5m"]
  .map((path) => join(REPOSITORY, path))
  .find((path) => existsSync(path));
const TEXT = join(REPOSITORY, "../shared/data/protocol/wikitext2_test.txt");
const root = mkdtempSync(join(tmpdir(), "rankfold-tokenizer-"));
afterAll(() => rmSync(root, { recursive: true }));

interface Golden {
  readonly texts: readonly string[];
  readonly variants: Readonly<
    Record<string, { normalizer: unknown; pre_tokenizer: unknown; words: readonly string[][]; ids: readonly number[][] }>
  >;
}

const golden = readJson(join(REPOSITORY, "test/golden/tokenizer.json")) as unknown as Golden;

const TINY = {
  model: { type: "BPE", vocab: { "<s>": 0, "</s>": 1, a: 2, b: 3, ab: 4 }, merges: [["a", "b"]] },
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  decoder: { type: "ByteLevel" },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
  },
  added_tokens: ["<s>", "</s>"].map((content, id) => ({ id, content, special: true, normalized: false })),
};

describe.skipIf(!MODEL)("with the vocabulary of pequod-5m (skipped where its folder is absent)", () => {
  const folder = MODEL as string;

  test.each(Object.keys(golden.variants))("the pre-tokenizer %s gives the ids of the reference implementation", (name) => {
    const { ids, normalizer, pre_tokenizer } = golden.variants[name] as Golden["variants"][string];
    const tokenizer = Tokenizer.fromJson({ ...readJson(join(folder, "tokenizer.json")), normalizer, pre_tokenizer });
    expect(golden.texts.map((text) => [...tokenizer.encode(text)])).toEqual(ids);
  });

  test("decoding gives any text back", () => {
    const tokenizer = readTokenizer(folder);
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
    );
  });

  test.skipIf(!existsSync(TEXT))("300 kB of text take less than ten seconds (skipped where ../shared is absent)", () => {
    const text = readFileSync(TEXT, "utf8").slice(0, 300_000);
    const start = performance.now();
    expect(readTokenizer(folder).encode(text).length).toBeGreaterThan(50_000);
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

test.each(Object.keys(golden.variants))("the pre-tokenizer %s finds the words of the reference implementation", (name) => {
  const { words, normalizer, pre_tokenizer } = golden.variants[name] as Golden["variants"][string];
  const library = new Library({ ...TINY, normalizer, pre_tokenizer: exactPreTokenizer(pre_tokenizer) }, {});
  expect(golden.texts.map((text) => library.pre_tokenizer?.(library.normalizer?.(text) ?? text))).toEqual(words);
});

test.each(Object.keys(golden.variants))("a GGUF file that says %s gets the pre-tokenizer that the golden ids are for", (name) => {
  const values = { "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.tokens": ["a"] };
  const { normalizer, pre_tokenizer } = golden.variants[name] as Golden["variants"][string];
  expect(tokenizerJson(new Metadata("m.gguf", values))).toMatchObject({ normalizer, pre_tokenizer });
});

test("no special token is added, those in the text are found", () => {
  const tokenizer = Tokenizer.fromJson(TINY, { bos_token: "<s>", eos_token: { content: "</s>" } }, [7]);
  expect([...tokenizer.encode("ab</s>a")]).toEqual([4, 1, 2]);
  expect(tokenizer.decode(Uint32Array.of(4, 1, 2))).toBe("ab</s>a");
  expect(tokenizer.encode("").length).toBe(0);
  expect(tokenizer.decode([])).toBe("");
  expect({ bos: tokenizer.bosId, eos: [...tokenizer.eosIds], size: tokenizer.vocabularySize }).toEqual({
    bos: 0,
    eos: [1, 7],
    size: 5,
  });
});

test("a folder gives the template of its own file and the ends that its configs name", () => {
  const folder = mkdtempSync(join(root, "model-"));
  const files = {
    "tokenizer.json": TINY,
    "tokenizer_config.json": { eos_token: "</s>", chat_template: "old" },
    "generation_config.json": { eos_token_id: [1, 3] },
  };
  for (const [name, json] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(json));
  expect(readTokenizer(folder).chatTemplate).toBe("old");
  writeFileSync(
    join(folder, "chat_template.jinja"),
    "{{ eos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}",
  );
  const tokenizer = readTokenizer(folder);
  expect([...tokenizer.eosIds]).toEqual([1, 3]);
  expect(renderChat(tokenizer, [{ role: "user", content: "hi" }])).toBe("</s>[user] hi>");
});

test("what is missing or damaged is named", () => {
  expect(() => readTokenizer(root)).toThrow(/tokenizer.json: expected this file, found none; make it with transformers/);
  expect(() => Tokenizer.fromJson({ ...TINY, model: { type: "none" } })).toThrow(FormatError);
  expect(() => renderChat(Tokenizer.fromJson(TINY), [])).toThrow(UnsupportedError);
  const refusing = Tokenizer.fromJson(TINY, {
    chat_template: [{ name: "default", template: "{{ raise_exception('no system') }}" }],
  });
  expect(() => renderChat(refusing, [])).toThrow(/no system/);
});
