import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import { METHODS, methodNamed } from "./registry.ts";

/** What methods are made of; every other file of the folder is a method. */
const PARTS = [
  "activation-aware",
  "anchored",
  "factors",
  "interpolative",
  "measure",
  "method",
  "nested",
  "output-metric",
  "registry",
  "terms",
  "whitening",
];
/** What modegpt is made of, one file for each part of a block, and their contract. */
const MODULE_METHODS = ["module-method", "nystrom", "cr", "value-output"];

test("every file is a method of its own name, or a part of methods", () => {
  const files = readdirSync(new URL(".", import.meta.url)).filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
  const names = files.map((file) => file.replace(/\.ts$/, ""));
  expect(METHODS.map((method) => method.name).sort()).toEqual(
    names.filter((name) => ![...PARTS, ...MODULE_METHODS].includes(name)).sort(),
  );
});

test("a method is found by its name", () => {
  for (const method of METHODS) expect(methodNamed(method.name)).toBe(method);
});

test("an unknown name is refused with the near ones", () => {
  expect(() => methodNamed("nsvd")).toThrow(UsageError);
  expect(() => methodNamed("svdllm")).toThrow(/--method svdllm is not known; did you mean svd-llm\? known are svd, asvd/);
  expect(() => methodNamed("quantize")).toThrow(/--method quantize is not known; known are svd/);
});

test("titles differ", () => {
  expect(new Set(METHODS.map((method) => method.title)).size).toBe(METHODS.length);
});
