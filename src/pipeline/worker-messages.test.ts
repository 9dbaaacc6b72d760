import { expect, test } from "vitest";
import { FormatError, InterruptedError, RankfoldError, ShapeError } from "../errors.ts";
import { fromPlainError, toPlainError } from "./worker-messages.ts";

/** As postMessage does it. */
const cross = (error: unknown) => fromPlainError(structuredClone(toPlainError(error)));

test("an error of the family arrives with its class, message and fields", () => {
  const error = cross(new ShapeError("matmul", "2 x 3", "3 x 2"));
  expect(error).toBeInstanceOf(ShapeError);
  expect(error).toBeInstanceOf(RankfoldError);
  expect(error).toMatchObject({ name: "ShapeError", operation: "matmul", expected: "2 x 3", got: "3 x 2" });
  expect(error.message).toBe("matmul: expected 2 x 3, got 3 x 2");
  expect(cross(new FormatError("model.gguf", "is cut short"))).toMatchObject({ file: "model.gguf" });
  expect(cross(new InterruptedError("interrupted"))).toBeInstanceOf(InterruptedError);
});

test("a defect stays a plain error, with its name and where it happened", () => {
  const thrown = new TypeError("x is not a function");
  const error = cross(thrown);
  expect(error).toBeInstanceOf(Error);
  expect(error).not.toBeInstanceOf(RankfoldError);
  expect(error).toMatchObject({ name: "TypeError", message: thrown.message, stack: thrown.stack });
});

test("what is no error arrives as its text", () => {
  expect(cross("out of luck").message).toBe("out of luck");
});
