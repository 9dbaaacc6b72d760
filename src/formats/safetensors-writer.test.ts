/** What is written in any order is read back, and an unfinished model is never taken for a whole one. */
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { FormatError, NumericsError, ShapeError, UsageError } from "../errors.ts";
import { scope, Tensor } from "../tensor/index.ts";
import { FolderCheckpoint } from "./folder.ts";
import { type Layout, type LayoutEntry, SafetensorsWriter } from "./safetensors-writer.ts";

const root = mkdtempSync(join(tmpdir(), "rankfold-writer-"));
afterAll(() => rmSync(root, { recursive: true }));

function newFolder(): string {
  return mkdtempSync(join(root, "model-"));
}

/** Small whole numbers, which every dtype holds exactly. */
function values({ name, shape }: LayoutEntry): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.from(
    Float32Array.from({ length: size }, (_, i) => ((i * 7 + name.length) % 23) - 11),
    shape,
  );
}

const PAIR: Layout = {
  tensors: [
    { name: "a", shape: [2, 3], dtype: "f32" },
    { name: "b", shape: [4], dtype: "bf16" },
  ],
};

const layouts: fc.Arbitrary<Layout> = fc.record({
  tensors: fc.uniqueArray(
    fc.record({
      name: fc
        .oneof(fc.string({ minLength: 1, maxLength: 8 }), fc.constantFrom("__proto__", '"quoted"\\', "名"))
        .filter((n) => n !== "__metadata__"),
      shape: fc.oneof(
        fc.constantFrom([], [1], [1, 17], [17, 1], [3, 1, 5], [0, 4]),
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 3 }),
      ),
      dtype: fc.constantFrom("f32", "f64", "f16", "bf16"),
    }),
    { selector: ({ name }) => name, minLength: 1, maxLength: 8 },
  ),
  shardBytes: fc.constantFrom(1, 64, 256, 4e9),
  metadata: fc.dictionary(fc.string(), fc.string(), { maxKeys: 2 }),
});

test("every layout comes back as it was written, whatever the order and the shards", () => {
  fc.assert(
    fc.property(layouts, fc.boolean(), (layout, reversed) => {
      const folder = newFolder();
      const writer = SafetensorsWriter.create(folder, layout);
      const order = reversed ? layout.tensors.toReversed() : layout.tensors;
      scope(() => {
        for (const entry of order) writer.write(entry.name, values(entry));
      });
      writer.finish();
      checkModel(folder, layout);
    }),
    { numRuns: 60 },
  );
});

function checkModel(folder: string, layout: Layout): void {
  const checkpoint = FolderCheckpoint.open(folder);
  expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(layout.tensors.map(({ name }) => name)));
  for (const entry of layout.tensors) {
    const { shape, format } = checkpoint.tensors.get(entry.name) ?? {};
    expect({ shape, format }).toEqual({ shape: entry.shape, format: entry.dtype });
    scope(() => expect(checkpoint.read(entry.name).toFloat32Array()).toEqual(values(entry).toFloat32Array()));
  }
  checkpoint.close();
}

test("a run that was cut off goes on with the files it made, and only with these", () => {
  const folder = newFolder();
  SafetensorsWriter.create(folder, PAIR).write("a", values(PAIR.tensors[0] as LayoutEntry));
  const writer = SafetensorsWriter.open(folder, PAIR, ["a"]);
  writer.write("b", values(PAIR.tensors[1] as LayoutEntry));
  writer.finish();
  checkModel(folder, PAIR);
  SafetensorsWriter.open(folder, PAIR, ["a", "b"]).finish();
  expect(() => SafetensorsWriter.open(folder, { tensors: PAIR.tensors.slice(1) }, [])).toThrow(FormatError);
  truncateSync(join(folder, "model.safetensors"), 100);
  expect(() => SafetensorsWriter.open(folder, PAIR, [])).toThrow(/another layout/);
});

test("an unfinished model has no file that is taken for one", () => {
  const folder = newFolder();
  const writer = SafetensorsWriter.create(folder, PAIR);
  expect(() => writer.finish()).toThrow(/2 are missing, the first a/);
  expect(readdirSync(folder)).toEqual(["model.safetensors.partial"]);
  expect(() => FolderCheckpoint.open(folder)).toThrow(FormatError);
});

test("shards are numbered and listed, and values are aligned", () => {
  const folder = newFolder();
  const writer = SafetensorsWriter.create(folder, { ...PAIR, shardBytes: 24 });
  for (const entry of PAIR.tensors) writer.write(entry.name, values(entry));
  writer.finish();
  expect(readdirSync(folder).sort()).toEqual([
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
  ]);
  expect(existsSync(join(folder, "model.safetensors"))).toBe(false);
});

test("what does not fit the layout is refused", () => {
  const writer = SafetensorsWriter.create(newFolder(), PAIR);
  expect(() => writer.write("c", Tensor.zeros([1]))).toThrow(UsageError);
  expect(() => writer.write("a", Tensor.zeros([3, 2]))).toThrow(ShapeError);
  expect(() => writer.write("a", Tensor.from(new Float32Array([1, 2, 3, 4, 5, Number.NaN]), [2, 3]))).toThrow(NumericsError);
  const half: Layout = { tensors: [{ name: "h", shape: [1], dtype: "f16" }] };
  expect(() => SafetensorsWriter.create(newFolder(), half).write("h", Tensor.from(new Float32Array([1e6]), [1]))).toThrow(
    /h: expected finite values in f16/,
  );
  expect(() => SafetensorsWriter.create(newFolder(), { tensors: [...PAIR.tensors, ...PAIR.tensors] })).toThrow(UsageError);
});
