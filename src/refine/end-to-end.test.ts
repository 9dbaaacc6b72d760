import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { FolderCheckpoint } from "../formats/folder.ts";
import { readJson } from "../formats/json.ts";
import { SafetensorsFile } from "../formats/safetensors.ts";
import type { Model } from "../models/load.ts";
import type { BlockWeights } from "../models/model.ts";
import { parseModelConfig } from "../models/registry.ts";
import { scope, Tensor } from "../tensor/index.ts";
import { backward } from "./end-to-end.ts";
import { evenFactors, readStudent, tensorsOf } from "./student.ts";
import type { Teacher } from "./teacher.ts";

const golden = fileURLToPath(new URL("../../test/golden/", import.meta.url));

/** Predicts what a file of logits says. */
function teacherOf(file: string, shape: readonly number[]): Teacher {
  const bytes = readFileSync(file);
  const logits = Tensor.from(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), shape);
  return { statesOf: () => logits.contiguous(), logits: (rows: Tensor) => rows } as unknown as Teacher;
}

/** The divergence, and the gradient of every weight by its name in the checkpoint. */
function gradientsOf(name: string, reference: string) {
  const folder = `${golden}llama/${name}`;
  const parsed = parseModelConfig(readJson(`${folder}/config.json`));
  const model = { ...parsed, checkpoint: FolderCheckpoint.open(folder) } as unknown as Model;
  const { sequences } = readJson(`${folder}/input.json`) as { sequences: number[][] };
  const windows = sequences.map((ids) => Uint32Array.from(ids));
  const rows = windows.length * (windows[0] as Uint32Array).length;
  const teacher = teacherOf(`${golden}llama/${reference}/logits.bin`, [rows, model.config.vocabulary]);
  const student = readStudent(model);
  const found = new Map<string, Float32Array>();
  const chosen = { windows, indices: [...windows.keys()] };
  const divergence = backward(
    student,
    teacher,
    chosen,
    (place, gradients) => {
      if (place === "norm") found.set("model.norm.weight", (gradients.get(student.norm) as Tensor).toFloat32Array());
      else
        for (const [key, tensor] of tensorsOf(student.blocks[place] as BlockWeights)) {
          const full = `model.layers.${place}.${key}${/\.(weight|bias)$/.test(key) ? "" : ".weight"}`;
          found.set(full, (gradients.get(tensor) as Tensor).toFloat32Array());
        }
    },
    () => {},
  );
  return { divergence, found };
}

describe("gradients of small random models agree with torch's", () => {
  test.each(["gqa-untied", "mistral-window", "biases"])("%s", (name) => {
    const expected = new SafetensorsFile(`${golden}gradients/${name}.safetensors`);
    const { divergence, found } = gradientsOf(name, expected.metadata.reference as string);
    expect(divergence).toBeCloseTo(expected.read("loss").toFloat32Array()[0] as number, 5);
    expect([...found.keys(), "loss"].sort()).toEqual([...expected.entries.keys()].sort());
    for (const [weight, gradient] of found) {
      const values = expected.read(weight).toFloat32Array();
      const scale = Math.max(...values.map(Math.abs));
      const worst = gradient.reduce((most, value, i) => Math.max(most, Math.abs(value - (values[i] as number))), 0);
      // f32 through two blocks and back: sums of a few hundred terms, 1e-4 is three digits above their rounding.
      expect(worst / scale, weight).toBeLessThan(1e-4);
    }
  });
});

test("evened factors have the same product, and columns as large as their rows; a zero component stays", () => {
  scope(() => {
    const left = Tensor.from(Float32Array.from([8, 2, 6, 2, 2, 3]), [2, 3]);
    const right = Tensor.from(Float32Array.from([0.01, 0.02, 0, 0, 1, 4]), [3, 2]);
    const even = evenFactors({ left, right });
    const difference = even.left.matmul(even.right).sub(left.matmul(right));
    expect(Math.sqrt(difference.sumOfSquares())).toBeLessThan(1e-6 * Math.sqrt(left.sumOfSquares() * right.sumOfSquares()));
    const above = even.right
      .mul(even.right)
      .rowSums()
      .scale(1 / 2)
      .toFloat32Array();
    const below = even.left
      .mul(even.left)
      .columnSums()
      .scale(1 / 2)
      .toFloat32Array();
    for (const i of [0, 2]) expect(above[i]).toBeCloseTo(below[i] as number, 5);
    expect([above[1], below[1]]).toEqual([0, 4]);
  });
});
