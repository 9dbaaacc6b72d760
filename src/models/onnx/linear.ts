/**
 * Linear layers as nodes: a weight is one matrix product, a factored one two. Activations are rows, t x n, and weights stay
 * out x in as the checkpoint has them, so that an embedding table serves as the head too.
 *
 *   t tokens · m x n a weight · k rank · bits of a quantised weight
 */
import { type Bits, BLOCK, quantizeRows } from "../../formats/block-quantization.ts";
import type { OnnxGraph } from "../../formats/onnx-graph.ts";
import { hcat, scope, Tensor, vcat } from "../../tensor/index.ts";
import type { Linear, LowRank } from "../model.ts";

/** How numbers are stored and computed with. */
export interface Precision {
  readonly float: "f32" | "f16";
  /** Of the blocks' projections; whole weights when absent. */
  readonly bits?: Bits;
  /** Of the embedding and the head. */
  readonly tableBits?: Bits;
}

/** The graph being made, and what it costs to make the shapes fit. */
export interface Target {
  readonly graph: OnnxGraph;
  readonly precision: Precision;
  /** Bytes of zeros that padding added. */
  paddingBytes: number;
}

/** Integers that the processor multiplies are used for the activations too: the accuracy level of 8 bits. */
const INTEGER_ACTIVATIONS = 4;
export const MICROSOFT = "com.microsoft";

/** y = W x + b for rows: t x n to t x m. */
export function linearNode(target: Target, x: string, name: string, layer: Linear): string {
  if ("weight" in layer) return product(target, x, `${name}.weight`, layer.weight, layer.bias);
  const inner = product(target, x, `${name}.right.weight`, layer.right);
  return product(target, inner, `${name}.left.weight`, layer.left, layer.bias);
}

/** x W^T + b, the weight stored under `name`. */
function product(target: Target, x: string, name: string, weight: Tensor, bias?: Tensor): string {
  const { graph, precision } = target;
  const added = bias ? [storeFloat(target, name.replace(/weight$/, "bias"), bias)] : [];
  if (!fitsBlocks(precision.bits, weight)) return gemm(graph, [x, storeFloat(target, name, weight), ...added]);
  const y = quantizedProduct(target, x, storeQuantized(target, name, weight, precision.bits as Bits));
  return bias ? graph.node("Add", [y, ...added]) : y;
}

/** x W^T + b by the names of x, W and b. */
export function gemm(graph: OnnxGraph, inputs: readonly string[]): string {
  return graph.node("Gemm", inputs, { attributes: { transB: { int: 1 } } });
}

export function fitsBlocks(bits: Bits | undefined, weight: Tensor): boolean {
  return bits !== undefined && weight.columns % BLOCK === 0;
}

export function storeFloat({ graph, precision }: Target, name: string, tensor: Tensor): string {
  return scope(() => graph.tensor(name, tensor.to(precision.float)));
}

/** A weight in blocks, by the names of its constants. */
export interface QuantizedWeight {
  /** m x (n bits / 8) bytes. */
  readonly codes: string;
  readonly scales: string;
  readonly bits: Bits;
  readonly rows: number;
  readonly columns: number;
}

export function storeQuantized(target: Target, name: string, weight: Tensor, bits: Bits): QuantizedWeight {
  return scope(() => {
    const { rows, columns } = weight;
    const { codes, scales } = quantizeRows(weight.toFloat32Array(), bits);
    const scalesName = storeFloat(target, `${name}.scales`, Tensor.from(scales, [rows, columns / BLOCK]));
    const stored = target.graph.bytes(`${name}.codes`, [rows, (columns * bits) / 8], codes);
    return { codes: stored, scales: scalesName, bits, rows, columns };
  });
}

export function quantizedProduct({ graph }: Target, x: string, { codes, scales, bits, rows, columns }: QuantizedWeight): string {
  const blocks = graph.alias(`${codes}.blocks`, codes, [rows, columns / BLOCK, (BLOCK * bits) / 8]);
  const sizes = { K: columns, N: rows, bits, block_size: BLOCK, accuracy_level: INTEGER_ACTIVATIONS };
  const attributes = Object.fromEntries(Object.entries(sizes).map(([key, int]) => [key, { int }]));
  return graph.node("MatMulNBits", [x, blocks, scales], { domain: MICROSOFT, attributes });
}

/**
 * The same product with rows of length 1 on the right. A row's blocks have scales of their own, so its length is free there; on
 * the left a block spans 32 ranks, and the bits must go to those that count. Halves what 4 and 8 bits cost SVD-LLM's factors.
 */
export function balanced({ left, right, bias }: LowRank): LowRank {
  const lengths = right.mul(right).rowSums().toFloat32Array().map(Math.sqrt); // k
  const safe = lengths.map((length) => (length > 0 ? length : 1));
  const perRow = Tensor.from(
    safe.map((length) => 1 / length),
    [safe.length, 1],
  ); // k x 1
  const factors = { left: left.mul(Tensor.from(safe, [1, safe.length])), right: right.mul(perRow) };
  return bias ? { ...factors, bias } : factors;
}

/** For blocks: balanced, its rank and, where asked, `rows` and `columns` filled up with zeros; the map of the first ones is the same. */
export function padded(target: Target, layer: Linear, { rows, columns }: { rows?: number; columns?: number } = {}): Linear {
  if (target.precision.bits === undefined) return layer;
  const bias = layer.bias ? { bias: padColumns(target, layer.bias, rows ?? layer.bias.columns) } : {};
  if ("weight" in layer) return { weight: pad(target, layer.weight, rows, columns), ...bias };
  const { left, right } = balanced(layer);
  const rank = wholeBlocks(right.rows);
  return { left: pad(target, left, rows, rank), right: pad(target, right, rank, columns), ...bias };
}

/** The next multiple of a block. */
export function wholeBlocks(length: number): number {
  return Math.ceil(length / BLOCK) * BLOCK;
}

function pad(target: Target, weight: Tensor, rows = weight.rows, columns = weight.columns): Tensor {
  const wide = padColumns(target, weight, columns);
  if (rows === wide.rows) return wide;
  target.paddingBytes += storedBytes(target, (rows - wide.rows) * columns);
  return vcat(wide, Tensor.zeros([rows - wide.rows, columns]));
}

function padColumns(target: Target, weight: Tensor, columns: number): Tensor {
  if (columns === weight.columns) return weight;
  target.paddingBytes += storedBytes(target, weight.rows * (columns - weight.columns));
  return hcat(weight, Tensor.zeros([weight.rows, columns - weight.columns]));
}

/** Codes and their share of the scales. */
function storedBytes({ precision: { bits = 8, float } }: Target, values: number): number {
  return values * (bits / 8 + (float === "f32" ? 4 : 2) / BLOCK);
}
