/** What a compression will do, worked out from shapes alone: ranks, sizes, memory. `--dry-run` prints it. */
import type { z } from "zod";
import { allocatorNamed } from "../allocate/registry.ts";
import { projectionParameters } from "../allocate/size.ts";
import { MemoryError, UnsupportedError, UsageError } from "../errors.ts";
import type { Method } from "../methods/method.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Json } from "../models/config.ts";
import type { Model } from "../models/load.ts";
import type { ModelConfig, ProjectionShape } from "../models/model.ts";
import { COMPRESSED_PREFIX, parseModelConfig } from "../models/registry.ts";
import { modelTensors } from "../models/weights.ts";
import { BYTES, type DType } from "../tensor/index.ts";
import { formatsOf } from "./inspect.ts";
import { predictedPeakBytes } from "./memory.ts";
import type { compressOptions } from "./options.ts";
import type { CompressPlan } from "./results.ts";

export type Options = z.output<typeof compressOptions>;

export interface Plan {
  readonly method: Method;
  readonly propagate: "original" | "compressed";
  readonly dtype: DType;
  /** Rank of every projection that is factored, by full name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** The compressed model's config.json, and what it says. */
  readonly configJson: Json;
  readonly config: ModelConfig;
  /** Every tensor of the compressed model, in file order, with its shape. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  readonly summary: CompressPlan;
}

/** @throws UsageError on options that contradict each other, UnsupportedError for a model that is compressed already. */
export function planCompression(model: Model, options: Options): Plan {
  if (String(model.configJson.model_type).startsWith(COMPRESSED_PREFIX)) {
    throw new UnsupportedError(`${model.path}: is already compressed by rankfold; compress the dense model instead`);
  }
  const method = methodNamed(options.method);
  if (method.needs.length > 0 && options.calibration === undefined) {
    throw new UsageError(`--method ${method.name} measures activations: give a text with --calibration FILE`);
  }
  const shapes = allProjections(model);
  const ranks = chosenRanks(shapes, options);
  const configJson = compressedConfig(model.configJson, ranks, method, options);
  const { config } = parseModelConfig(configJson);
  const tensors = modelTensors(model.architecture, config);
  const dtype = options.dtype ?? nativeDtype(model);
  const plan = { method, propagate: options.propagate ?? method.propagate, dtype, ranks, configJson, config, tensors };
  return { ...plan, summary: summarise(model, options, plan, shapes) };
}

export function allProjections({ architecture, config }: Model): ProjectionShape[] {
  return Array.from({ length: config.blocks }, (_, block) => architecture.projections(config, block)).flat();
}

function chosenRanks(shapes: readonly ProjectionShape[], options: Options): Map<string, number> {
  const [include, exclude] = [pattern("include", options.include), pattern("exclude", options.exclude)];
  const candidates = shapes.filter(({ name }) => (include?.test(name) ?? true) && !exclude?.test(name));
  const ranks = allocatorNamed(options.allocate).allocate(candidates, options);
  return new Map([...ranks].flatMap(([name, rank]) => (rank === undefined ? [] : [[name, rank]])));
}

function pattern(option: string, source: string | undefined): RegExp | undefined {
  try {
    return source === undefined ? undefined : new RegExp(source);
  } catch (cause) {
    throw new UsageError(`--${option} ${source}: is not a regular expression (${(cause as Error).message})`);
  }
}

/** The dtype most of the model is stored in; bf16 for a quantised one. */
function nativeDtype(model: Model): DType {
  const format = formatsOf(model)[0];
  return format === "f32" || format === "f16" ? format : "bf16";
}

/** config.json of the compressed model: a model type of its own, so that no program loads it half. */
function compressedConfig(json: Json, ranks: ReadonlyMap<string, number>, method: Method, options: Options): Json {
  const skeletons = [...ranks]
    .map(([name, rank]) => [name, method.skeletonRows?.(rank, options) ?? 0] as const)
    .filter(([, rows]) => rows > 0);
  return {
    ...json,
    model_type: COMPRESSED_PREFIX + String(json.model_type),
    architectures: ["RankfoldForCausalLM"],
    auto_map: {
      AutoConfig: "modeling_rankfold.RankfoldConfig",
      AutoModel: "modeling_rankfold.RankfoldModel",
      AutoModelForCausalLM: "modeling_rankfold.RankfoldForCausalLM",
    },
    projection_ranks: Object.fromEntries(ranks),
    projection_biases: method.addsBias?.(options) ? [...ranks.keys()] : [],
    // How many columns is known now, which ones only after the decomposition: the first ones stand for them.
    projection_skeletons: Object.fromEntries(skeletons.map(([name, rows]) => [name, Array.from({ length: rows }, (_, i) => i)])),
  };
}

function summarise(
  model: Model,
  options: Options,
  plan: Omit<Plan, "summary">,
  shapes: readonly ProjectionShape[],
): CompressPlan {
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const parametersAfter = [...plan.tensors.values()].reduce((sum, shape) => sum + size(shape), 0);
  const total = (rankOf: (name: string) => number | undefined) =>
    shapes.reduce((sum, shape) => sum + projectionParameters(shape, rankOf(shape.name)), 0);
  return {
    model: model.path,
    method: plan.method.name,
    keep: options.keep,
    keptProjections: total((name) => plan.ranks.get(name)) / total(() => undefined),
    keptTotal: parametersAfter / model.parameters,
    parametersBefore: model.parameters,
    parametersAfter,
    bytesAfter: parametersAfter * BYTES[plan.dtype],
    calibrationTokens: plan.method.needs.length > 0 ? options.samples * options.window : 0,
    peakBytes: predictedPeakBytes(model, plan, options),
    projections: shapes.map(({ name, rows, columns }) => ({ name, rows, columns, rank: plan.ranks.get(name) ?? null })),
  };
}

/** @throws MemoryError when the plan needs more than the user gave. */
export function checkMemory({ summary }: Plan, { memoryBytes }: Options): void {
  if (memoryBytes === undefined || summary.peakBytes <= memoryBytes) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  const remedy = "raise --memory, or lower --samples or --window";
  throw new MemoryError(
    `--memory: the plan needs about ${gigabytes(summary.peakBytes)}, ${gigabytes(memoryBytes)} are allowed; ${remedy}`,
  );
}
