/** Mean KL(dense || compressed) of a token (Hinton et al. 2015, arXiv:1503.02531, at temperature 1), and its gradient. */
import { advanceBatches, batchWindows, disposeBatches } from "../models/forward.ts";
import { klDivergence, klDivergenceGradient, rmsNorm, scope, type Tensor, vcat } from "../tensor/index.ts";
import { mapTensors, type Student } from "./student.ts";
import type { Teacher } from "./teacher.ts";

/** Rows of logits at a time. */
export const LOGIT_ROWS = 512;

/** Windows of a text, of equal length, and those of them that are meant. */
export interface Chosen {
  readonly windows: readonly Uint32Array[];
  readonly indices: readonly number[];
}

/** The windows that are meant. */
export const windowsOf = ({ windows, indices }: Chosen) => indices.map((i) => windows[i] as Uint32Array);

/** Of the predictions from normed states h (t x d) against the dense ones, and its gradient at h. */
export function divergenceAt(h: Tensor, states: Tensor, { head }: Student, teacher: Teacher): { divergence: number; dh: Tensor } {
  let sum = 0;
  const parts = partsOf(h.rows).map(([start, end]) =>
    scope(() => {
      const logits = h.rowRange(start, end).matmulTransposed(head);
      const reference = teacher.logits(states.rowRange(start, end));
      const { divergences, gradient } = klDivergenceGradient(reference, logits, 1 / h.rows);
      sum += total(divergences);
      return gradient.matmul(head);
    }),
  );
  return { divergence: sum / h.rows, dh: vcat(...parts) };
}

/** Over windows, with every weight as `written` gives it back. @param between called between parts of a second or less */
export function divergenceOver(
  student: Student,
  teacher: Teacher,
  chosen: Chosen,
  { written, between }: { written: (tensor: Tensor) => Tensor; between: () => void },
): number {
  const { model, embedding, blocks, norm, head } = student;
  const batches = batchWindows(model, embedding, windowsOf(chosen));
  try {
    blocks.forEach((block, index) => {
      scope(() => advanceBatches(model, batches, mapTensors(block, written), index, { between }));
    });
    const rest = [...chosen.indices];
    const sums = batches.map(({ stream, run }) =>
      scope(() => {
        const h = rmsNorm(stream.read(), written(norm), model.config.normEps);
        const states = teacher.statesOf(rest.splice(0, run.sequences));
        return total(partsOf(h.rows).map((rows) => total(divergencesOf(h, states, rows, { head, teacher }))));
      }),
    );
    return total(sums) / (chosen.indices.length * (chosen.windows[0] as Uint32Array).length);
  } finally {
    disposeBatches(batches);
  }
}

function divergencesOf(
  h: Tensor,
  states: Tensor,
  [start, end]: readonly [number, number],
  { head, teacher }: { head: Tensor; teacher: Teacher },
): Float64Array {
  return scope(() => {
    const reference = teacher.logits(states.rowRange(start, end));
    return klDivergence(reference, h.rowRange(start, end).matmulTransposed(head));
  });
}

/** Ranges of rows whose logits fit into memory. */
function partsOf(rows: number): (readonly [start: number, end: number])[] {
  const count = Math.ceil(rows / LOGIT_ROWS);
  return Array.from({ length: count }, (_, i) => [i * LOGIT_ROWS, Math.min((i + 1) * LOGIT_ROWS, rows)]);
}

const total = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0);
