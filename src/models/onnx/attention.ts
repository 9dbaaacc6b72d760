/**
 * Grouped-query attention with a cache, in ONNX's own operators but for the rotary positions, so that it runs wherever
 * onnxruntime does, with any padding.
 *
 *   b sequences · s new tokens each · T tokens with those of the cache · t = b s rows
 *   h query heads · g key/value heads · r = h / g · e width of a query and key head, e' of a value head; blocks may differ in both
 */
import { ELEMENT } from "../../formats/onnx.ts";
import type { LlamaConfig } from "../llama.ts";
import type { Model } from "../load.ts";
import type { RopePairs } from "../model.ts";
import { ATTENTION_MASK, INPUT_IDS, POSITION_IDS } from "./inputs.ts";
import { MICROSOFT, storeFloat, type Target } from "./linear.ts";

/** Added to the scores of tokens that are not seen: far below any score, and finite, as a row of them alone must stay. */
const UNSEEN = { f32: -1e30, f16: -3e4 };

/** What every block's attention reads: values made once, and lengths. */
export interface Attention {
  readonly heads: LlamaConfig["heads"];
  /** Rotary tables, a row for each position. */
  readonly cos: string;
  readonly sin: string;
  /** Their rows at the new tokens' positions, b x s x (e / 2): where a block keeps some rotary pairs only. */
  readonly turns?: { readonly cos: string; readonly sin: string };
  /** 0 or far below it, b x 1 x 1 x s x T. */
  readonly bias: string;
  readonly scale: string;
  readonly lengths: Lengths;
  /** Of a dense block. */
  readonly shapes: Shapes;
}

/** Values of a query and key head, and of a value head. */
interface HeadWidths {
  readonly queryKey: number;
  readonly value: number;
}

/** Shapes that depend on b, s and T, as vectors. */
interface Shapes {
  readonly queries: string; // b s h e
  readonly keys: string; // b s g e
  readonly values: string; // b s g e'
  readonly grouped: string; // b g (r s) e
  readonly scores: string; // b g r s T
  readonly folded: string; // b g (r s) T
  readonly heads: string; // b h s e'
  readonly joined: string; // (b s) (h e')
}

/** Adds the nodes that all blocks share. */
export function sharedAttention(target: Target, { architecture, config }: Model): Attention {
  const { heads, slidingWindow, ropePairs } = config as LlamaConfig;
  const table = architecture.positions(config, 0, config.maxPositions); // p x (e / 2)
  const [cos, sin] = [storeFloat(target, "rotary.cos", table.cos), storeFloat(target, "rotary.sin", table.sin)];
  const at = (angles: string) => target.graph.node("Gather", [angles, POSITION_IDS]); // b s (e / 2)
  const lengths = lengthNodes(target);
  return {
    heads,
    cos,
    sin,
    ...(ropePairs.size > 0 ? { turns: { cos: at(cos), sin: at(sin) } } : {}),
    lengths,
    bias: biasNodes(target, lengths, slidingWindow),
    scale: float(target, target.graph.number(heads.dim ** -0.5)),
    shapes: shapeNodes(target, lengths, heads, { queryKey: heads.dim, value: heads.dim }),
  };
}

/** b, s and T, each a vector of one. */
interface Lengths {
  readonly b: string;
  readonly s: string;
  readonly T: string;
}

function lengthNodes({ graph }: Target): Lengths {
  const length = (of: string, axis: number) => {
    return graph.node("Shape", [of], { attributes: { start: { int: axis }, end: { int: axis + 1 } } });
  };
  return { b: length(INPUT_IDS, 0), s: length(INPUT_IDS, 1), T: length(ATTENTION_MASK, 1) };
}

function shapeNodes(
  { graph }: Target,
  { b, s, T }: Lengths,
  { query: h, keyValue: g }: LlamaConfig["heads"],
  { queryKey: e, value: ev }: HeadWidths,
): Shapes {
  const shape = (...parts: (string | number)[]) => {
    const names = parts.map((part) => (typeof part === "number" ? graph.integers(part) : part));
    return graph.node("Concat", names, { attributes: { axis: { int: 0 } } });
  };
  return {
    queries: shape(b, s, h, e),
    keys: shape(b, s, g, e),
    values: shape(b, s, g, ev),
    grouped: graph.integers(0, g, -1, e),
    scores: shape(b, g, h / g, s, T),
    folded: shape(b, g, -1, T),
    heads: shape(b, h, s, ev),
    joined: graph.integers(-1, h * ev),
  };
}

/** A token sees those up to itself, of the last `window` only where there is one, and none that the mask leaves out. */
function biasNodes(target: Target, { s, T }: Lengths, window: number | undefined): string {
  const { graph } = target;
  const range = (from: string, to: string) => graph.node("Range", [scalar(target, from), scalar(target, to), graph.integer(1)]);
  const key = range(graph.integers(0), T); // T
  const query = graph.node("Unsqueeze", [range(graph.node("Sub", [T, s]), T), graph.integers(1)]); // s x 1
  const before = graph.node("LessOrEqual", [key, query]); // s x T
  const near = window === undefined ? before : graph.node("And", [before, inWindow(target, key, query, window)]);
  const present = graph.node("Cast", [ATTENTION_MASK], { attributes: { to: { int: ELEMENT.bool } } });
  const seen = graph.node("And", [near, graph.node("Unsqueeze", [present, graph.integers(1, 2, 3)])]); // b x 1 x 1 x s x T
  return float(target, graph.node("Where", [seen, graph.number(0), graph.number(UNSEEN[target.precision.float])]));
}

function inWindow({ graph }: Target, key: string, query: string, window: number): string {
  return graph.node("Greater", [key, graph.node("Sub", [query, graph.integers(window)])]);
}

function scalar({ graph }: Target, vector: string): string {
  return graph.node("Squeeze", [vector]);
}

/** From f32 to what the graph computes in. */
function float({ graph, precision }: Target, value: string): string {
  if (precision.float === "f32") return value;
  return graph.node("Cast", [value], { attributes: { to: { int: ELEMENT.f16 } } });
}

export interface Projected {
  readonly block: number;
  readonly q: string; // t x (h e)
  readonly k: string; // t x (g e)
  readonly v: string; // t x (g e')
  readonly widths: HeadWidths;
  /** The rotary pairs that heads keep, where not all. */
  readonly ropePairs?: RopePairs | undefined;
}

/** softmax(q k^T scale + bias) v over past and new tokens, t x (h e'); the longer cache is an output. */
export function attentionNodes(target: Target, shared: Attention, { block, q, k, v, widths, ropePairs }: Projected): string {
  const { graph } = target;
  const { heads, lengths } = shared;
  const isDense = widths.queryKey === heads.dim && widths.value === heads.dim;
  const shapes = isDense ? shared.shapes : shapeNodes(target, lengths, heads, widths);
  const turned = (x: string, count: number) =>
    ropePairs ? rotatePairs(target, shared, { x, heads: count, pairs: ropePairs }) : rotate(target, shared, x);
  const cached = (name: string, x: string, width: number) => remember(target, heads, { name: `${block}.${name}`, x, width });
  const queries = turned(headsFirst(target, q, shapes.queries), heads.query); // b h s e, or b g r s e
  const rotated = turned(headsFirst(target, k, shapes.keys), heads.keyValue); // b g s e, or b g 1 s e
  const keys = cached("key", ropePairs ? graph.node("Reshape", [rotated, shapes.grouped]) : rotated, widths.queryKey); // b g T e
  const values = cached("value", headsFirst(target, v, shapes.values), widths.value); // b g T e'
  const grouped = graph.node("Reshape", [graph.node("Mul", [queries, shared.scale]), shapes.grouped]); // b g (r s) e
  const scores = graph.node("MatMul", [grouped, transpose(target, keys, 0, 1, 3, 2)]); // b g (r s) T
  const biased = graph.node("Add", [graph.node("Reshape", [scores, shapes.scores]), shared.bias]); // b g r s T
  const shares = graph.node("Softmax", [biased], { attributes: { axis: { int: -1 } } });
  const mixed = graph.node("MatMul", [graph.node("Reshape", [shares, shapes.folded]), values]); // b g (r s) e'
  const byToken = transpose(target, graph.node("Reshape", [mixed, shapes.heads]), 0, 2, 1, 3); // b s h e'
  return graph.node("Reshape", [byToken, shapes.joined]);
}

/** t x (heads e) to b heads s e. */
function headsFirst(target: Target, x: string, shape: string): string {
  return transpose(target, target.graph.node("Reshape", [x, shape]), 0, 2, 1, 3);
}

function rotate({ graph }: Target, { cos, sin }: Attention, x: string): string {
  return graph.node("RotaryEmbedding", [x, POSITION_IDS, cos, sin], { domain: MICROSOFT });
}

interface Turned {
  readonly x: string; // b heads s e
  readonly heads: number;
  readonly pairs: RopePairs;
}

/** Each group of heads by the angles of the pairs that it keeps: b (g r) s e to b g r s e. */
function rotatePairs({ graph }: Target, { turns }: Attention, { x, heads: count, pairs }: Turned): string {
  const [groups, half] = [pairs.length, pairs[0]?.length ?? 0]; // e = 2 half
  const indices = graph.integers(...pairs.flatMap((own) => [...own]));
  const angles = (table = "") => {
    const chosen = graph.node("Gather", [table, indices], { attributes: { axis: { int: -1 } } }); // b s (g half)
    const byGroup = graph.node("Reshape", [chosen, graph.integers(0, 0, groups, half)]); // b s g half
    const turned = graph.node("Transpose", [byGroup], { attributes: { perm: { ints: [0, 2, 1, 3] } } }); // b g s half
    return graph.node("Unsqueeze", [turned, graph.integers(2)]); // b g 1 s half
  };
  const [cos, sin] = [angles(turns?.cos), angles(turns?.sin)];
  const heads = graph.node("Reshape", [x, graph.integers(0, groups, count / groups, -1, 2 * half)]); // b g r s e
  const part = (from: number) =>
    graph.node("Slice", [heads, graph.integers(from), graph.integers(from + half), graph.integers(-1)]);
  const [first, second] = [part(0), part(half)];
  const product = (a: string, b: string) => graph.node("Mul", [a, b]);
  const low = graph.node("Sub", [product(first, cos), product(second, sin)]);
  const high = graph.node("Add", [product(second, cos), product(first, sin)]);
  return graph.node("Concat", [low, high], { attributes: { axis: { int: -1 } } });
}

interface Cached {
  readonly name: string;
  readonly x: string; // b g s width
  readonly width: number;
}

/** Past and new keys or values, one after the other. */
function remember({ graph, precision }: Target, heads: LlamaConfig["heads"], { name, x, width }: Cached): string {
  const shape = (tokens: string, last: number | string) => ["batch_size", heads.keyValue, tokens, last];
  // Programs that make the first, empty cache by the config know one width for all blocks: a narrower one is left open.
  const given = shape("past_sequence_length", width === heads.dim ? width : `${name}.width`);
  const past = graph.input({ name: `past_key_values.${name}`, element: precision.float, shape: given });
  const present = graph.node("Concat", [past, x], { attributes: { axis: { int: 2 } }, output: `present.${name}` });
  return graph.output({ name: present, element: precision.float, shape: shape("total_sequence_length", width) });
}

function transpose({ graph }: Target, x: string, ...order: number[]): string {
  return graph.node("Transpose", [x], { attributes: { perm: { ints: order } } });
}
