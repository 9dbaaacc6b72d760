/** Steps of AdamW on all weights of a student, each weight moved as soon as its gradient is there. */
import type { BlockWeights } from "../models/model.ts";
import { AdamW, keep, type Tensor } from "../tensor/index.ts";
import type { Chosen } from "./divergence.ts";
import { backward, type Place } from "./end-to-end.ts";
import { mapTensors, type Student } from "./student.ts";
import type { Teacher } from "./teacher.ts";

/** As is usual for language models; the squares of gradients are forgotten sooner than by Adam's own 0.999. */
const ADAMW = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.01 };

export class Training {
  readonly student: Student;
  private readonly teacher: Teacher;
  /** The optimiser of each weight that has moved, by place and key. */
  readonly rules = new Map<string, AdamW>();

  constructor(student: Student, teacher: Teacher) {
    this.student = student;
    this.teacher = teacher;
  }

  /**
   * Moves every weight once; gives the divergence before it, nats a token.
   * @param step its number, from 1
   * @param between called between blocks while nothing has moved
   */
  step(chosen: Chosen, { step, learningRate }: { step: number; learningRate: number }, between: () => void): number {
    const moved = (place: Place, gradients: ReadonlyMap<Tensor, Tensor>) => (tensor: Tensor, key: string) => {
      const gradient = gradients.get(tensor);
      if (!gradient) return tensor;
      const next = keep(this.ruleOf(`${place}.${key}`, tensor).step(tensor, gradient, step, { ...ADAMW, learningRate }));
      tensor.dispose();
      return next;
    };
    const visit = (place: Place, gradients: ReadonlyMap<Tensor, Tensor>) => {
      const move = moved(place, gradients);
      const { student } = this;
      if (place === "norm") student.norm = move(student.norm, "weight");
      else student.blocks[place] = mapTensors(student.blocks[place] as BlockWeights, move);
    };
    return backward(this.student, this.teacher, chosen, visit, between);
  }

  private ruleOf(key: string, { size }: Tensor): AdamW {
    const rule = this.rules.get(key) ?? new AdamW(size);
    this.rules.set(key, rule);
    return rule;
  }
}
