/** Hostile and damaged safetensors are refused by name, before anything is allocated for them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError } from "../errors.ts";
import { readHeader, SafetensorsFile } from "./safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "rankfold-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file with this header text and `dataBytes` zeros. */
function fileOf(header: string, dataBytes = 0, declared = Buffer.byteLength(header)): string {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(declared));
  return write(Buffer.concat([length, Buffer.from(header), Buffer.alloc(dataBytes)]));
}

function write(bytes: Uint8Array): string {
  const path = join(folder, "x.safetensors");
  writeFileSync(path, bytes);
  return path;
}

function entry(dtype: string, shape: unknown, offsets: unknown): string {
  return `{"dtype":"${dtype}","shape":${JSON.stringify(shape)},"data_offsets":${JSON.stringify(offsets)}}`;
}

describe("a header is refused", () => {
  const two = (a: string, b: string) => `{"a":${a},"b":${b}}`;
  const cases: readonly [string, () => string, RegExp][] = [
    ["when the file has no room for its length", () => write(Buffer.alloc(5)), /got 5 bytes/],
    ["when its length leaves the file", () => fileOf("{}", 0, 1000), /at most 2 bytes, got 1000/],
    ["when its length is absurd", () => write(Buffer.alloc(16, 0xff)), /got 18446744073709551615/],
    ["when it is cut off", () => fileOf('{"a":'), /does not parse/],
    ["when it is no UTF-8", () => write(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe])), /UTF-8/],
    ["when it is a list", () => fileOf("[]"), /JSON object/],
    [
      "when a key stands twice",
      () => fileOf(two(entry("F32", [1], [0, 4]), entry("F32", [1], [0, 4])).replace('"b"', '"\\u0061"'), 4),
      /once/,
    ],
    [
      "when a field stands twice",
      () => fileOf('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
      /once/,
    ],
    ["when it nests deeply", () => fileOf(`${'{"a":'.repeat(4000)}1${"}".repeat(4000)}`), /expected a dtype of/],
    [
      "when a dtype nests deeply",
      () => fileOf(`{"a":{"dtype":${"[".repeat(20_000)}${"]".repeat(20_000)}}}`),
      /got another value/,
    ],
    ["when tensors overlap", () => fileOf(two(entry("F32", [2], [0, 8]), entry("F32", [1], [4, 8])), 8), /gap or an overlap/],
    ["when there is a gap", () => fileOf(two(entry("F32", [1], [0, 4]), entry("F32", [1], [8, 12])), 12), /gap or an overlap/],
    ["when values are missing at the end", () => fileOf(`{"a":${entry("F32", [2], [0, 8])}}`, 7), /cut off/],
    [
      "when bytes are left at the end",
      () => fileOf(`{"a":${entry("F32", [2], [0, 8])}}`, 9),
      /expected 70 bytes by its header, got 71/,
    ],
    ["when shape and length differ", () => fileOf(`{"a":${entry("F32", [3], [0, 8])}}`, 8), /expected 12 bytes/],
    [
      "when a product overflows",
      () => fileOf(`{"a":${entry("F32", [4294967295, 4294967295, 4294967295], [0, 8])}}`, 8),
      /expected/,
    ],
    ["when a dimension is negative", () => fileOf(`{"a":${entry("F32", [-1, -2], [0, 8])}}`, 8), /whole numbers/],
    ["when a dimension is 2^53", () => fileOf(`{"a":${entry("F32", [2 ** 53], [0, 8])}}`, 8), /whole numbers/],
    ["when there are too many dimensions", () => fileOf(`{"a":${entry("U8", Array(9).fill(1), [0, 1])}}`, 1), /at most 8/],
    ["when offsets run backwards", () => fileOf(`{"a":${entry("F32", [2], [8, 0])}}`, 8), /in order/],
    ["when offsets are no numbers", () => fileOf(`{"a":${entry("F32", [2], ["0", "8"])}}`, 8), /in order/],
    ["when a dtype is unknown", () => fileOf(`{"a":${entry("F33", [1], [0, 4])}}`, 4), /expected a dtype of/],
    [
      "when a dtype is a property of every object",
      () => fileOf(`{"a":${entry("constructor", [1], [0, 4])}}`, 4),
      /expected a dtype of/,
    ],
    ["when metadata is no strings", () => fileOf('{"__metadata__":{"format":1}}'), /__metadata__/],
  ];
  test.each(cases)("%s", (_, make, message) => {
    const path = make();
    expect(() => readHeader(path)).toThrow(FormatError);
    expect(() => readHeader(path)).toThrow(message);
  });
});

test("tensors that are no weights may be there, and say so when they are read", () => {
  const file = new SafetensorsFile(fileOf(`{"ids":${entry("I64", [1], [0, 8])},"w":${entry("BF16", [2, 1], [8, 12])}}`, 12));
  expect(file.read("w").toFloat32Array()).toEqual(new Float32Array(2));
  expect(() => file.read("ids")).toThrow(/tensor ids: expected F32, F64, F16, BF16, got I64/);
  expect(() => file.read("nothing")).toThrow(/expected a tensor nothing/);
  file.close();
});

test("a long string in the metadata is no key", () => {
  const text = '\\n \\": '.repeat(500_000);
  expect(readHeader(fileOf(`{"__metadata__" : {"x": "${text}"}}`)).entries.size).toBe(0);
});

test("a tensor without values, a scalar and a tensor called __proto__ are read", () => {
  const header = `{"none":${entry("F32", [0, 4], [0, 0])},"one":${entry("F32", [], [0, 4])},"__proto__":${entry("F32", [1, 2], [4, 12])}}`;
  const file = new SafetensorsFile(fileOf(header, 12));
  expect([...file.entries.keys()].sort()).toEqual(["__proto__", "none", "one"]);
  expect(file.read("one").toFloat32Array()).toEqual(new Float32Array(1));
  expect(file.read("__proto__").shape).toEqual([1, 2]);
  file.close();
});
