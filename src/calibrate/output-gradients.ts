/**
 * How much the loss feels each projection's output: the gradients of the next token's negative log-likelihood there, as Gram
 * matrices (the empirical Fisher; Martens, Grosse 2015, arXiv:1503.05671).
 */
import { NumericsError } from "../errors.ts";
import { type Descent, descend, type Landing } from "../models/descent.ts";
import type { Model } from "../models/load.ts";
import { type BlockWeights, type Dense, forwardBlock } from "../models/model.ts";
import { record, Tensor, TokenSums } from "../tensor/index.ts";

export interface GradientPass extends Pick<Descent, "windows" | "holder" | "between"> {
  /** Given the Gram matrices (lower triangles, m (m + 1) / 2 values) of a block's projections, by their name in the block. */
  readonly visit: (block: number, triangles: ReadonlyMap<string, Tensor>) => void;
}

/** Visits the blocks from the last to the first. @throws NumericsError when a gradient is not finite. */
export function sumOutputGradients(model: Model, { visit, ...pass }: GradientPass): void {
  descend(model, { ...pass, enter: (block, weights) => summing(model, block, weights, visit) });
}

function summing(model: Model, block: number, weights: BlockWeights, visit: GradientPass["visit"]): Landing {
  const sums = new Map([...weights.linears].map(([name, layer]) => [name, new TokenSums((layer as Dense).weight.rows)]));
  return {
    down({ run, x, gradient }) {
      const added = zerosLike(weights, x.rows);
      const { output, recording } = record([x, ...added.values()], () =>
        forwardBlock(model.architecture, x, { config: model.config, weights: withAdded(weights, added), run }),
      );
      const found = recording.gradients(output, gradient);
      for (const [name, zeros] of added) sums.get(name)?.add(found.get(zeros) as Tensor);
      return found.get(x) as Tensor;
    },
    leave: () => visit(block, new Map([...sums].map(([name, sum]) => [name, finiteTriangle(sum, `block ${block}, ${name}`)]))),
  };
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
