/** All tensors of a training under names, to be saved and taken up again: weights, moments of the optimiser, best weights. */
import { AdamW, dispose, keep, type Tensor } from "../tensor/index.ts";
import type { Course } from "./course.ts";
import { mapTensors, type Snapshot, tensorsOf } from "./student.ts";
import type { Training } from "./training.ts";

/** A tensor that is made when it is written. */
export interface SavedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Tensor["dtype"];
  read(): Tensor;
}

export function* savedTensors(training: Training, course: Course): Generator<SavedTensor> {
  yield* snapshotTensors("now", training.student);
  yield* snapshotTensors("best", course.best);
  for (const [key, rule] of training.rules) {
    for (const [i, moment] of MOMENTS.entries())
      yield { name: `${moment}.${key}`, shape: [rule.size], dtype: "f32", read: () => rule.moments()[i] as Tensor };
  }
}

const MOMENTS = ["mean", "square"];

function* snapshotTensors(prefix: string, { blocks, norm }: Snapshot): Generator<SavedTensor> {
  const entry = (key: string, tensor: Tensor): SavedTensor => {
    return { name: `${prefix}.${key}`, shape: tensor.shape, dtype: tensor.dtype, read: () => tensor };
  };
  yield entry("norm", norm);
  for (const [block, weights] of blocks.entries())
    for (const [key, tensor] of tensorsOf(weights)) yield entry(`${block}.${key}`, tensor);
}

/** Puts saved tensors in the place of those that a fresh training starts with. @param read a tensor in its saved dtype */
export function restoreTensors(
  training: Training,
  course: Course,
  names: Iterable<string>,
  read: (name: string) => Tensor,
): void {
  replace(training.student, "now", read);
  replace(course.best, "best", read);
  for (const name of names) {
    if (!name.startsWith("mean.")) continue;
    const key = name.slice("mean.".length);
    const moments = [read(name), read(`square.${key}`)] as const;
    const rule = new AdamW(moments[0].size);
    rule.restore(moments);
    dispose([...moments]);
    training.rules.set(key, rule);
  }
}

function replace(snapshot: Snapshot, prefix: string, read: (name: string) => Tensor): void {
  const saved = (tensor: Tensor, key: string) => {
    tensor.dispose();
    return keep(read(`${prefix}.${key}`));
  };
  snapshot.norm = saved(snapshot.norm, "norm");
  for (const [block, weights] of snapshot.blocks.entries())
    snapshot.blocks[block] = mapTensors(weights, (tensor, key) => saved(tensor, `${block}.${key}`));
}
