/** Model folders: whole ones are read, all others say what is wrong with them. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FormatError, NumericsError, UnsupportedError } from "../errors.ts";
import { Tensor, writeTensor } from "../tensor/index.ts";
import { FolderCheckpoint } from "./folder.ts";
import { readHeader } from "./safetensors.ts";
import { SafetensorsWriter } from "./safetensors-writer.ts";

const root = mkdtempSync(join(tmpdir(), "rankfold-folder-"));
afterAll(() => rmSync(root, { recursive: true }));

/** Two tensors in two shards. */
function shardedModel(): string {
  const folder = mkdtempSync(join(root, "model-"));
  const tensors = ["a", "b"].map((name) => ({ name, shape: [2], dtype: "f32" as const }));
  const writer = SafetensorsWriter.create(folder, { tensors, shardBytes: 8 });
  for (const { name } of tensors) writer.write(name, Tensor.from(new Float32Array([1, 2]), [2]));
  writer.finish();
  return folder;
}

function writeIndex(folder: string, weights: unknown): void {
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: weights }));
}

const FIRST = "model-00001-of-00002.safetensors";

test("shards are read as one model", () => {
  const checkpoint = FolderCheckpoint.open(shardedModel());
  expect(checkpoint.tensors.get("b")).toEqual({ shape: [2], format: "f32", bytes: 8 });
  expect([...checkpoint.read("b").toFloat32Array()]).toEqual([1, 2]);
  expect(() => checkpoint.read("c")).toThrow(/expected a tensor c/);
  checkpoint.close();
});

test.each(["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "a\\b.safetensors", "x.bin", "..", "", 5, null])(
  "a shard called %j is refused",
  (shard) => {
    const folder = shardedModel();
    writeIndex(folder, { a: shard });
    expect(() => FolderCheckpoint.open(folder)).toThrow(FormatError);
    expect(() => FolderCheckpoint.open(folder)).toThrow(/plain names/);
  },
);

test("a shard that is missing is named", () => {
  const folder = shardedModel();
  rmSync(join(folder, FIRST));
  expect(() => FolderCheckpoint.open(folder)).toThrow(new RegExp(`${FIRST}: expected this shard`));
});

test("a tensor that its shard lacks is named", () => {
  const folder = shardedModel();
  writeIndex(folder, { a: FIRST, b: FIRST });
  expect(() => FolderCheckpoint.open(folder)).toThrow(/expected the tensor b/);
});

test("an index without a map is refused", () => {
  const folder = shardedModel();
  writeIndex(folder, [FIRST]);
  expect(() => FolderCheckpoint.open(folder)).toThrow(/weight_map/);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])("a weight of %d is an error that names the tensor", (value) => {
  const folder = shardedModel();
  const path = join(folder, FIRST);
  writeTensor(Tensor.from(new Float32Array([value]), [1]), path, readHeader(path).entries.get("a")?.offset ?? 0);
  const checkpoint = FolderCheckpoint.open(folder);
  expect(() => checkpoint.read("a")).toThrow(NumericsError);
  expect(() => checkpoint.read("a")).toThrow(/tensor a: expected finite/);
  checkpoint.close();
});

test("pickle files are never opened", () => {
  const folder = shardedModel();
  rmSync(join(folder, "model.safetensors.index.json"));
  renameSync(join(folder, FIRST), join(folder, "pytorch_model.bin"));
  expect(() => FolderCheckpoint.open(folder)).toThrow(UnsupportedError);
  expect(() => FolderCheckpoint.open(folder)).toThrow(/pickle.*never opened.*safe_serialization/);
});

test("a folder without weights, and none at all, say what to give", () => {
  const folder = mkdtempSync(join(root, "empty-"));
  expect(() => FolderCheckpoint.open(folder)).toThrow(/expected model.safetensors or/);
  writeFileSync(join(folder, "m.gguf"), "");
  expect(() => FolderCheckpoint.open(folder)).toThrow(/give the file .*m\.gguf itself/);
  expect(() => FolderCheckpoint.open(join(root, "none"))).toThrow(/check the path/);
});
