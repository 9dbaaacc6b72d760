/**
 * The contract of an architecture family, and what every family shares: linear layers that may be factored, and a block's
 * forward pass cut at its sites, so that the same code calibrates, evaluates and generates, before and after compression.
 *
 *   t tokens (rows) · d hidden size · m x n a projection's weight, out x in · k rank
 */
import { type Attention, causalAttention, dispose, keep, type RopeTable, scope, type Tensor, vcat } from "../tensor/index.ts";

/** y = W x + b with W whole, or W = left right. */
export type Linear = Dense | LowRank;

export interface Dense {
  readonly weight: Tensor; // m x n
  readonly bias?: Tensor; // 1 x m
}

export interface LowRank {
  readonly left: Tensor; // m x k
  readonly right: Tensor; // k x n
  readonly bias?: Tensor; // 1 x m
}

/** Applies a linear layer to rows: t x n to t x m. */
export function linear(x: Tensor, layer: Linear): Tensor {
  return linears(x, [layer])[0] as Tensor;
}

/** Applies layers to the same rows; a right factor that several share, once. */
export function linears(x: Tensor, layers: readonly Linear[]): Tensor[] {
  const products = new Map<Tensor, Tensor>();
  const product = (right: Tensor) => {
    const z = products.get(right) ?? x.matmulTransposed(right); // t x k
    products.set(right, z);
    return z;
  };
  return scope(() =>
    layers.map((layer) => {
      const y = "weight" in layer ? x.matmulTransposed(layer.weight) : product(layer.right).matmulTransposed(layer.left);
      return layer.bias ? y.add(layer.bias) : y;
    }),
  );
}

/** A linear map of a block, by its name in the checkpoint without `.weight`. */
export interface ProjectionShape {
  /** Full name, `model.layers.3.self_attn.q_proj`. */
  readonly name: string;
  /** The site whose activation it reads; projections of one site share a Gram matrix. */
  readonly site: string;
  readonly rows: number;
  readonly columns: number;
  /** Whether the checkpoint holds a bias for it. */
  readonly bias: boolean;
}

/** Sizes of a block's parts where compression made them smaller; what is absent is as large as the config says. */
export interface BlockWidths {
  /** Channels of the MLP. */
  readonly channels?: number;
  /** Values of a query head and of a key head, two for each rotary pair. */
  readonly queryKey?: number;
  /** Values of a value head. */
  readonly value?: number;
}

/** What of a block may become narrower. */
export type Part = keyof BlockWidths;

/** A part of every block, in its dense size. */
export interface PartShape {
  readonly part: Part;
  /** The site whose Gram matrix says how to make it narrower. */
  readonly site: string;
  /** The projections that become smaller, by names relative to the block. */
  readonly projections: readonly string[];
  readonly width: number;
  /** Widths are multiples of it. */
  readonly step: number;
}

/** The rotary pairs that each key/value head keeps, and the query heads that share it; pair i is values i and i + e / 2. */
export type RopePairs = readonly Uint32Array[];

/** The weights of one block, by names relative to it (`self_attn.q_proj`, `input_layernorm`). */
export interface BlockWeights {
  readonly linears: Map<string, Linear>;
  readonly vectors: Map<string, Tensor>;
  /** Absent where all are kept. */
  ropePairs?: RopePairs | undefined;
}

/** Keys and values of the tokens already seen by a block, one sequence; they outlive every scope until disposed. */
export interface BlockCache {
  keys?: Tensor;
  values?: Tensor;
}

/** Rows `start` up to `end` (not included). */
export interface RowRange {
  readonly start: number;
  readonly end: number;
}

/** One sequence among the rows of a run; the rows of its prefix, where it has one, come before it in its text. */
export interface Span extends RowRange {
  readonly prefix?: RowRange;
}

/** What a block needs to know of the tokens it is given. */
export interface Run {
  /** Independent sequences of equal length, stacked along the rows. */
  readonly sequences: number;
  /** Rotary angles, a row for each position of a sequence. */
  readonly positions: RopeTable;
  readonly cache?: BlockCache;
  /** Sequences of unequal length, in row order and covering every row, instead of `sequences` equal ones. */
  readonly spans?: readonly Span[];
}

/** Between two sites: the residual stream, and the input of the site just reached. */
export interface BlockState {
  readonly x: Tensor; // t x d
  readonly input: Tensor; // t x n
}

/** The way to one site, from the state at the site before it (at the first, `input` is the residual stream). */
export interface Stage<C extends ModelConfig = ModelConfig> {
  /** The site's name: an input activation that one or more projections read, and whose Gram matrix they share. */
  readonly name: string;
  advance(state: BlockState, block: Block<C>): BlockState;
}

/** All that a stage reads. */
export interface Block<C extends ModelConfig = ModelConfig> {
  readonly config: C;
  readonly weights: BlockWeights;
  readonly run: Run;
}

/** What every family's config says; families extend it. */
export interface ModelConfig {
  /** The dense model's `model_type`. */
  readonly modelType: string;
  readonly hiddenSize: number;
  readonly blocks: number;
  readonly vocabulary: number;
  readonly tiedEmbeddings: boolean;
  readonly normEps: number;
  /** Longest sequence that the model was made for. */
  readonly maxPositions: number;
  /** Ranks of the projections stored as factors, by full name; empty for a dense model. */
  readonly ranks: ReadonlyMap<string, number>;
  /** Projections that compression gave a bias, by full name. */
  readonly addedBiases: ReadonlySet<string>;
  /** Projections whose right factor ends in rows of an interpolative decomposition: the columns that hold its identity. */
  readonly skeletons: ReadonlyMap<string, Uint32Array>;
  /** Projections without a right factor of their own, and the one whose they read, both by full name. */
  readonly sharedRights: ReadonlyMap<string, string>;
  /** Sizes of the blocks that are narrower than the others. */
  readonly widths: ReadonlyMap<number, BlockWidths>;
  /** Of the blocks whose query and key heads are narrower. */
  readonly ropePairs: ReadonlyMap<number, RopePairs>;
}

/** h query heads share g key/value heads, h / g each; a dense head has e values. */
export interface HeadShape {
  readonly query: number; // h
  readonly keyValue: number; // g
  readonly dim: number; // e
}

export interface Architecture<C extends ModelConfig = ModelConfig> {
  /** The `model_type` values of config.json that this family serves. */
  readonly modelTypes: readonly string[];
  /** The family's own keys, added to what all families share. @throws ConfigError naming the key that is missing or wrong. */
  parseConfig(json: Record<string, unknown>, shared: ModelConfig): C;
  /** The projections of one block, in forward order, in their dense shape. */
  projections(config: C, block: number): readonly ProjectionShape[];
  /** Projections of one input that may share a right factor, by names relative to the block. */
  readonly stacks: readonly (readonly string[])[];
  /** The gated MLP by its channels: a channel is a row of each input projection and a column of the output's. */
  readonly channels: { readonly inputs: readonly string[]; readonly output: string; readonly site: string };
  /** The attention's projections by their heads. */
  readonly heads: {
    readonly query: string;
    readonly key: string;
    readonly value: string;
    readonly output: string;
    shape(config: C): HeadShape;
  };
  /** What of a block may become narrower, in forward order. */
  parts(config: C): readonly PartShape[];
  /** Names of a block's normalisation weights, d values each. */
  readonly norms: readonly string[];
  /** Rotary angles of `count` positions from `start`. */
  positions(config: C, start: number, count: number): RopeTable;
  /** The block's forward pass, cut at its sites, in order. */
  readonly stages: readonly Stage<C>[];
  /** The block's output from the state at its last site. */
  leave(state: BlockState, block: Block<C>): Tensor;
}

/** One block's forward pass, t x d to t x d; `observe` sees the input of every site. */
export function forwardBlock(
  architecture: Architecture,
  x: Tensor,
  block: Block,
  observe: (site: string, input: Tensor) => void = () => {},
): Tensor {
  return scope(() => {
    let state: BlockState = { x, input: x };
    for (const stage of architecture.stages) {
      const before = state;
      state = scope(() => stage.advance(before, block));
      observe(stage.name, state.input);
    }
    return architecture.leave(state, block);
  });
}

/** Causal attention within each sequence of the run, after the tokens that its cache or its prefix holds: t x (h e). */
export function attend(q: Tensor, k: Tensor, v: Tensor, run: Run, heads: Omit<Attention, "sequences">): Tensor {
  if (run.spans) return attendSpans(q, k, v, run.spans, { ...heads, sequences: 1 });
  const options = { ...heads, sequences: run.sequences };
  if (!run.cache) return causalAttention(q, k, v, options);
  const seen = remember(run.cache, k, v);
  return causalAttention(q, seen.keys, seen.values, options);
}

function attendSpans(q: Tensor, k: Tensor, v: Tensor, spans: readonly Span[], options: Attention): Tensor {
  return scope(() => {
    const seen = (x: Tensor, { start, end, prefix }: Span) => {
      const own = x.rowRange(start, end);
      return prefix ? vcat(x.rowRange(prefix.start, prefix.end), own) : own;
    };
    return vcat(
      ...spans.map((span) =>
        scope(() => causalAttention(q.rowRange(span.start, span.end), seen(k, span), seen(v, span), options)),
      ),
    );
  });
}

/** Appends to the cache and gives all keys and values so far, s x (g e). */
function remember(cache: BlockCache, k: Tensor, v: Tensor): { keys: Tensor; values: Tensor } {
  const keys = keep(cache.keys ? vcat(cache.keys, k) : k.contiguous());
  const values = keep(cache.values ? vcat(cache.values, v) : v.contiguous());
  dispose([cache.keys, cache.values]);
  return Object.assign(cache, { keys, values });
}
