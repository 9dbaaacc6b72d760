/**
 * How much the loss feels each projection's output: the gradients of the next token's negative log-likelihood there, as Gram
 * matrices (the empirical Fisher; Martens, Grosse 2015, arXiv:1503.05671). Each block's input waits in `holder` on the way up,
 * and the block runs again under a recording on the way down, so that one block's values exist at a time.
 */
import { NumericsError } from "../errors.ts";
import {
  advanceBatches,
  type Batch,
  disposeBatches,
  embedWindows,
  type Head,
  LOGIT_ROWS,
  readHead,
  sequencesOf,
} from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { type BlockWeights, type Dense, forwardBlock } from "../models/model.ts";
import type { Held, Holder } from "../models/streams.ts";
import { readBlock } from "../models/weights.ts";
import { klDivergenceGradient, record, rmsNorm, scaleRows, scope, Tensor, TokenSums, vcat } from "../tensor/index.ts";

/** A logit so far above the others that its token has all the probability. */
const CERTAIN = 1e4;

export interface GradientPass {
  readonly windows: readonly Uint32Array[];
  /** Where the inputs of all blocks wait. */
  readonly holder: Holder;
  /** Given the Gram matrices (lower triangles, m (m + 1) / 2 values) of a block's projections, by their name in the block. */
  readonly visit: (block: number, triangles: ReadonlyMap<string, Tensor>) => void;
  /** Called before each batch of a block. */
  readonly between: (step: number, steps: number) => void;
}

/** Visits the blocks from the last to the first. @throws NumericsError when a gradient is not finite. */
export function sumOutputGradients(model: Model, { windows, holder, visit, between }: GradientPass): void {
  const { blocks } = model.config;
  const batches = embedWindows(model, windows, holder);
  try {
    const inputs = Array.from({ length: blocks }, (_, block) => {
      between(block, 2 * blocks);
      return scope(() => advanceKeeping(model, batches, block, holder));
    });
    const gradients = scope(() => enterHead(model, readHead(model), { batches, windows, holder }));
    for (let block = blocks - 1; block >= 0; block--) {
      between(2 * blocks - 1 - block, 2 * blocks);
      scope(() => visit(block, goDown(model, block, { batches, inputs: inputs[block] as Held[], gradients })));
    }
    for (const held of gradients) held.dispose();
  } finally {
    disposeBatches(batches);
  }
}

/** Moves the batches through a block; gives what they were before. */
function advanceKeeping(model: Model, batches: readonly Batch[], block: number, holder: Holder): Held[] {
  const inputs = batches.map(({ stream }) => scope(() => holder.hold(stream.read().contiguous())));
  advanceBatches(model, batches, readBlock(model.checkpoint, model.architecture, model.config, block), block);
  return inputs;
}

interface Ascent extends Pick<GradientPass, "windows" | "holder"> {
  /** The windows at the last block's output. */
  readonly batches: readonly Batch[];
}

/** The gradients at the last block's output, a batch each. */
function enterHead(model: Model, head: Head, { batches, windows, holder }: Ascent): Held[] {
  const rest = [...windows];
  return batches.map((batch) =>
    scope(() => {
      const x = batch.stream.read();
      const targets = rest.splice(0, sequencesOf(batch).length).flatMap((window) => [...window.subarray(1), undefined]);
      const { output: h, recording } = record([x], () => rmsNorm(x, head.norm, model.config.normEps));
      const gradient = recording.gradients(h, likelihoodGradient(h, head, targets)).get(x) as Tensor;
      return holder.hold(gradient);
    }),
  );
}

/** At the normed states h, t x d; zero where nothing follows. */
function likelihoodGradient(h: Tensor, { table }: Head, targets: readonly (number | undefined)[]): Tensor {
  const parts = Array.from({ length: Math.ceil(h.rows / LOGIT_ROWS) }, (_, i) => {
    const part = targets.slice(i * LOGIT_ROWS, (i + 1) * LOGIT_ROWS);
    return scope(() => {
      const logits = h.rowRange(i * LOGIT_ROWS, i * LOGIT_ROWS + part.length).matmulTransposed(table); // t x v
      const { gradient } = klDivergenceGradient(certainties(part, logits.columns), logits, 1);
      const known = part.map((target) => (target === undefined ? 0 : 1));
      return scaleRows(gradient.matmul(table), known);
    });
  });
  return vcat(...parts);
}

/** Logits that say the targets alone, t x v. */
function certainties(targets: readonly (number | undefined)[], vocabulary: number): Tensor {
  const logits = new Float32Array(targets.length * vocabulary);
  targets.forEach((target, row) => {
    if (target !== undefined) logits[row * vocabulary + target] = CERTAIN;
  });
  return Tensor.from(logits, [targets.length, vocabulary]);
}

interface Descent {
  readonly batches: readonly Batch[];
  /** The block's input, a batch each; used up. */
  readonly inputs: readonly Held[];
  /** At the block's output before, at its input afterwards. */
  readonly gradients: readonly Held[];
}

function goDown(model: Model, block: number, { batches, inputs, gradients }: Descent): Map<string, Tensor> {
  const weights = readBlock(model.checkpoint, model.architecture, model.config, block);
  const sums = new Map([...weights.linears].map(([name, layer]) => [name, new TokenSums((layer as Dense).weight.rows)]));
  batches.forEach(({ run }, i) => {
    scope(() => {
      const x = (inputs[i] as Held).read();
      const added = zerosLike(weights, x.rows);
      const { output, recording } = record([x, ...added.values()], () =>
        forwardBlock(model.architecture, x, { config: model.config, weights: withAdded(weights, added), run }),
      );
      const found = recording.gradients(output, (gradients[i] as Held).read());
      for (const [name, zeros] of added) sums.get(name)?.add(found.get(zeros) as Tensor);
      (gradients[i] as Held).set(found.get(x) as Tensor);
    });
    (inputs[i] as Held).dispose();
  });
  return new Map([...sums].map(([name, sum]) => [name, finiteTriangle(sum, `block ${block}, ${name}`)]));
}

/** A zero for every output of the block's projections (t x m), by name. */
function zerosLike({ linears }: BlockWeights, rows: number): Map<string, Tensor> {
  return new Map([...linears].map(([name, layer]) => [name, Tensor.zeros([rows, (layer as Dense).weight.rows], "f32")]));
}

/** The same block with these added to the outputs, so that their gradients are those of the outputs. */
function withAdded(weights: BlockWeights, added: ReadonlyMap<string, Tensor>): BlockWeights {
  const linears = [...weights.linears].map(([name, layer]) => {
    const zeros = added.get(name) as Tensor;
    return [name, { ...layer, bias: layer.bias ? zeros.add(layer.bias) : zeros }] as const;
  });
  return { ...weights, linears: new Map(linears) };
}

function finiteTriangle(sums: TokenSums, where: string): Tensor {
  const triangle = sums.triangle();
  sums.dispose();
  if (!triangle.isFinite()) throw new NumericsError(`${where}: the gradients at its output have NaN or infinite values`);
  return triangle;
}
