/** Steps of AdamW on all weights of a student, each weight moved as soon as its gradient is there. */
import type { BlockWeights } from "../models/model.ts";
import { AdamW, keep, type Tensor } from "../tensor/index.ts";
import type { Chosen } from "./divergence.ts";
import { backward, type Place } from "./end-to-end.ts";
import { mapTensors, type Student } from "./student.ts";
import type { Teacher } from "./teacher.ts";

/** As is usual for language models; the squares of gradients are forgotten sooner than by Adam's own 0.999. */
const ADAMW = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.01 };

export interface Step {
  /** Its number, from 1. */
  readonly step: number;
  readonly learningRate: number;
}

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
   * @param between called between blocks while nothing has moved
   */
  step(chosen: Chosen, step: Step, between: () => void): number {
    return backward(this.student, this.teacher, chosen, (place, gradients) => this.move(place, gradients, step), between);
  }

  /** Moves the weights of one place along their gradients. */
  move(place: Place, gradients: ReadonlyMap<Tensor, Tensor>, { step, learningRate }: Step): void {
    const moved = (tensor: Tensor, key: string) => {
      const gradient = gradients.get(tensor);
      if (!gradient) return tensor;
      const next = keep(this.ruleOf(`${place}.${key}`, tensor).step(tensor, gradient, step, { ...ADAMW, learningRate }));
      tensor.dispose();
      return next;
    };
    const { student } = this;
    if (place === "norm") student.norm = moved(student.norm, "weight");
    else student.blocks[place] = mapTensors(student.blocks[place] as BlockWeights, moved);
  }

  private ruleOf(key: string, { size }: Tensor): AdamW {
    const rule = this.rules.get(key) ?? new AdamW(size);
    this.rules.set(key, rule);
    return rule;
  }
}
