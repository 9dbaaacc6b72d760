/** Values go to numbered files below the limit, at offsets that a memory map can start at. */
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Tensor } from "../tensor/index.ts";
import { ExternalData } from "./onnx-data.ts";

const root = mkdtempSync(join(tmpdir(), "rankfold-onnx-data-"));
afterAll(() => rmSync(root, { recursive: true }));

test("offsets are multiples of 4 KiB, and every value is where its place says", () => {
  const data = new ExternalData(root, "a.onnx");
  const places = [5000, 3, 4096].map((length, i) => data.append(new Uint8Array(length).fill(i + 1)));
  const tensor = data.append(Tensor.from(Float32Array.of(1, 2), [2]));
  expect(places.map(({ offset }) => offset)).toEqual([0, 8192, 12288]);
  const file = readFileSync(join(root, "a.onnx_data"));
  for (const [i, { offset, length }] of places.entries())
    expect(file.subarray(offset, offset + length).every((byte) => byte === i + 1)).toBe(true);
  expect([file.readFloatLE(tensor.offset), file.readFloatLE(tensor.offset + 4)]).toEqual([1, 2]);
  expect(data.files).toEqual(["a.onnx_data"]);
});

test("a value that would pass the limit begins the next file; one that is larger has a file for itself", () => {
  const data = new ExternalData(root, "b.onnx", 10_000);
  const files = [6000, 6000, 20_000, 100].map((length) => data.append(new Uint8Array(length)).file);
  expect(files).toEqual(["b.onnx_data", "b.onnx_data_1", "b.onnx_data_2", "b.onnx_data_3"]);
  expect(data.files).toEqual(files);
  expect(files.map((name) => statSync(join(root, name)).size)).toEqual([6000, 6000, 20_000, 100]);
});
