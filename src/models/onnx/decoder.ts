/**
 * A decoder of the Llama family as an ONNX graph, with the inputs and outputs that transformers.js feeds: token ids, a mask
 * over past and new tokens, positions, and the cache of every block, which comes back longer.
 *
 *   b sequences · s new tokens each · T tokens with those of the cache · t = b s rows
 *   d hidden size · h query heads · g key/value heads · r = h / g · e head width · v vocabulary
 */
import { scope, type Tensor } from "../../tensor/index.ts";
import type { LlamaConfig } from "../llama.ts";
import type { Model } from "../load.ts";
import { EMBEDDING, FINAL_NORM, HEAD, readBlock } from "../weights.ts";
import { type Attention, attentionNodes, sharedAttention } from "./attention.ts";
import { ATTENTION_MASK, INPUT_IDS, LOGITS, POSITION_IDS } from "./inputs.ts";
import {
  fitsBlocks,
  gemm,
  linearNode,
  MICROSOFT,
  padded,
  quantizedProduct,
  storeFloat,
  storeQuantized,
  type Target,
  wholeBlocks,
} from "./linear.ts";

/** Adds the whole model to the graph, a block's weights in memory at a time; `between` is called before each. */
export function decoderGraph(target: Target, model: Model, between: (block: number) => void): void {
  const { graph } = target;
  const config = model.config as LlamaConfig;
  graph.input({ name: INPUT_IDS, element: "i64", shape: ["batch_size", "sequence_length"] });
  graph.input({ name: ATTENTION_MASK, element: "i64", shape: ["batch_size", "total_sequence_length"] });
  graph.input({ name: POSITION_IDS, element: "i64", shape: ["batch_size", "sequence_length"] });
  const table = scope(() => storeTable(target, model, EMBEDDING));
  const attention = scope(() => sharedAttention(target, model));
  let x = embed(target, table); // t x d
  for (let block = 0; block < config.blocks; block++) {
    between(block);
    x = scope(() => blockNodes(target, model, block, x, attention));
  }
  logits(target, model, x, config.tiedEmbeddings ? table : scope(() => storeTable(target, model, HEAD)));
}

/** The embedding or the head, v x d: floats, or codes and scales. */
type Table = string | ReturnType<typeof storeQuantized>;

function storeTable(target: Target, { checkpoint }: Model, name: string): Table {
  const { tableBits } = target.precision;
  const tensor = checkpoint.read(name);
  return tableBits !== undefined && fitsBlocks(tableBits, tensor)
    ? storeQuantized(target, name, tensor, tableBits)
    : storeFloat(target, name, tensor);
}

/** t x d */
function embed({ graph }: Target, table: Table): string {
  const ids = graph.node("Reshape", [INPUT_IDS, graph.integers(-1)]);
  if (typeof table === "string") return graph.node("Gather", [table, ids]);
  const attributes = { bits: { int: table.bits }, block_size: { int: 32 }, gather_axis: { int: 0 }, quantize_axis: { int: 1 } };
  return graph.node("GatherBlockQuantized", [table.codes, ids, table.scales], { domain: MICROSOFT, attributes });
}

function blockNodes(target: Target, model: Model, block: number, x: string, attention: Attention): string {
  const { graph } = target;
  const prefix = `model.layers.${block}.`;
  const { linears, vectors, ropePairs } = readBlock(model.checkpoint, model.architecture, model.config, block);
  const norm = (input: string, name: string) => normNode(target, model, input, prefix + name, vectors.get(name) as Tensor);
  const project = (input: string, name: string, width: { rows?: number; columns?: number } = {}) =>
    linearNode(target, input, prefix + name, padded(target, linears.get(name) as never, width));

  const a = norm(x, "input_layernorm"); // t x d
  const [q, k, v] = ["q", "k", "v"].map((name) => project(a, `self_attn.${name}_proj`)) as [string, string, string];
  const widths = headWidths(model, block);
  const attended = attentionNodes(target, attention, { block, q, k, v, widths, ropePairs }); // t x (h e')
  const filled = filledColumns(target, model, attended, widths.value);
  const y = graph.node("Add", [x, project(filled.x, "self_attn.o_proj", filled)]); // t x d

  const m = norm(y, "post_attention_layernorm"); // t x d
  const width = wholeBlocks(mlpWidth(linears));
  const gate = project(m, "mlp.gate_proj", { rows: width }); // t x f
  const up = project(m, "mlp.up_proj", { rows: width }); // t x f
  const silu = graph.node("Mul", [gate, graph.node("Sigmoid", [gate])]);
  return graph.node("Add", [y, project(graph.node("Mul", [silu, up]), "mlp.down_proj", { columns: width })]);
}

/** Values of a query and key head, and of a value head. */
function headWidths({ config }: Model, block: number) {
  const { dim } = (config as LlamaConfig).heads;
  const { queryKey = dim, value = dim } = config.widths.get(block) ?? {};
  return { queryKey, value };
}

/** Zeros behind the values of narrower heads, so that the weights that read them are whole blocks. */
function filledColumns(
  { graph, precision }: Target,
  { config }: Model,
  x: string,
  value: number,
): { x: string; columns?: number } {
  const { query, dim } = (config as LlamaConfig).heads;
  const missing = wholeBlocks(query * value) - query * value;
  if (precision.bits === undefined || value === dim || missing === 0) return { x };
  return { x: graph.node("Pad", [x, graph.integers(0, 0, 0, missing)]), columns: query * value + missing };
}

/** Channels of the block's MLP, by its weights: blocks may differ. */
function mlpWidth(linears: ReturnType<typeof readBlock>["linears"]): number {
  const up = linears.get("mlp.up_proj");
  return up ? ("weight" in up ? up.weight : up.left).rows : 0;
}

function normNode(target: Target, { config }: Model, x: string, name: string, weight: Tensor): string {
  const attributes = { axis: { int: -1 }, epsilon: { float: config.normEps }, stash_type: { int: 1 } };
  return target.graph.node("SimplifiedLayerNormalization", [x, storeFloat(target, `${name}.weight`, weight)], { attributes });
}

function logits(target: Target, model: Model, x: string, table: Table): void {
  const { graph } = target;
  const { vocabulary } = model.config;
  const normed = scope(() => normNode(target, model, x, FINAL_NORM.replace(/\.weight$/, ""), model.checkpoint.read(FINAL_NORM)));
  const rows = typeof table === "string" ? gemm(graph, [normed, table]) : quantizedProduct(target, normed, table); // t x v
  const shape = graph.node("Concat", [graph.node("Shape", [INPUT_IDS]), graph.integers(vocabulary)], {
    attributes: { axis: { int: 0 } },
  });
  const shaped = graph.node("Reshape", [rows, shape]);
  graph.node("Cast", [shaped], { attributes: { to: { int: 1 } }, output: LOGITS });
  graph.output({ name: LOGITS, element: "f32", shape: ["batch_size", "sequence_length", vocabulary] });
}
