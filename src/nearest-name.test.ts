import { expect, test } from "vitest";
import { nearestName } from "./nearest-name.ts";

const METHODS = ["svd", "svd-llm", "asvd", "nsvd-i", "nsvd-ii", "rom"];

test("a slip of the keyboard finds the name meant", () => {
  expect(nearestName("svd-lm", METHODS)).toBe("svd-llm");
  expect(nearestName("svdllm", METHODS)).toBe("svd-llm");
  expect(nearestName("NSVD-I", METHODS)).toBe("nsvd-i");
  expect(nearestName("asdv", METHODS)).toBe("asvd");
});

test("a name that is near none finds none", () => {
  expect(nearestName("quantize", METHODS)).toBeUndefined();
  expect(nearestName("zq", METHODS)).toBeUndefined();
  expect(nearestName("", METHODS)).toBeUndefined();
  expect(nearestName("svd", [])).toBeUndefined();
});
