/** What a compression will do, worked out from shapes alone: ranks, sizes, memory. `--dry-run` prints it. */
import type { z } from "zod";
import type { Allocation } from "../allocate/allocator.ts";
import { allocatorNamed } from "../allocate/registry.ts";
import { randomShare } from "../calibrate/random-windows.ts";
import type { Method } from "../methods/method.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Json } from "../models/config.ts";
import type { Model } from "../models/load.ts";
import type { BlockWidths, ModelConfig, Part } from "../models/model.ts";
import { COMPRESSED_PREFIX, parseModelConfig, WIDTH_KEYS } from "../models/registry.ts";
import { blockPrefix, modelTensors, projectionTensors } from "../models/weights.ts";
import { BYTES, type DType } from "../tensor/index.ts";
import { allocate, type Choice, projectionsOf } from "./candidates.ts";
import { formatsOf } from "./inspect.ts";
import { type JointRanks, joined } from "./joint.ts";
import { longestText, planMemory, refuseAbove, type Work } from "./memory.ts";
import type { compressOptions } from "./options.ts";
import type { Recipe } from "./recipe.ts";
import type { CompressPlan } from "./results.ts";
import { comparesModels } from "./stored-statistics.ts";

/** The options as they were given, and with what is kept and how. */
export type GivenOptions = z.output<typeof compressOptions>;
export type Options = GivenOptions & Recipe & { readonly keep: number };

export interface Plan {
  readonly method: Method;
  /** Whether anything is measured on calibration text. */
  readonly measured: boolean;
  readonly propagate: "original" | "compressed";
  readonly dtype: DType;
  /** Rank of every projection that is factored, by full name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** Sizes of every block that gets narrower. */
  readonly widths: ReadonlyMap<number, BlockWidths>;
  /** The compressed model's config.json, and what it says. */
  readonly configJson: Json;
  readonly config: ModelConfig;
  /** Every tensor of the compressed model, in file order, with its shape. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  readonly summary: CompressPlan;
}

/**
 * @param allocation what each module is replaced by; the allocator's choice, by default from shapes alone.
 * @throws UsageError on options that contradict each other, UnsupportedError for a model that is compressed already.
 */
export function planCompression(
  model: Model,
  options: Options,
  { ranks: apart, widths, gains = [] }: Allocation & Partial<Choice> = allocate(model, options),
): Plan {
  const method = methodNamed(options.method);
  const { ranks, sharedRights } = joined(model, apart, options);
  const configJson = compressedConfig(model, { ranks, sharedRights, widths }, method, options);
  const { config } = parseModelConfig(configJson);
  const tensors = modelTensors(model.architecture, config);
  const dtype = options.dtype ?? nativeDtype(model);
  const propagate = options.propagate ?? method.propagate;
  const measured = method.needs.length > 0 || widths.size > 0;
  const plan = { method, measured, propagate, dtype, ranks, widths, configJson, config, tensors };
  return { ...plan, summary: { ...summarise(model, options, plan), gains } };
}

/** The dtype most of the model is stored in; bf16 for a quantised one. */
function nativeDtype(model: Model): DType {
  const format = formatsOf(model)[0];
  return format === "f32" || format === "f16" ? format : "bf16";
}

/** How transformers finds the classes of modeling_rankfold.py: one config class a family, named after the dense model's. */
function remoteCode(json: Json): Json {
  const dense = Array.isArray(json.architectures) ? String(json.architectures[0]) : "LlamaForCausalLM";
  const family = `modeling_rankfold.Rankfold${dense.replace(/ForCausalLM$/, "")}`;
  return {
    architectures: [`Rankfold${dense}`],
    auto_map: { AutoConfig: `${family}Config`, AutoModel: `${family}Model`, AutoModelForCausalLM: `${family}ForCausalLM` },
  };
}

/** config.json of the compressed model: a model type of its own, so that no program loads it half. */
function compressedConfig(
  model: Model,
  { ranks, sharedRights, widths }: Allocation & JointRanks,
  method: Method,
  options: Options,
): Json {
  const skeletons = [...ranks]
    .map(([name, rank]) => [name, method.skeletonRows?.(rank, options) ?? 0] as const)
    .filter(([, rows]) => rows > 0);
  const json = model.configJson;
  return {
    ...json,
    model_type: COMPRESSED_PREFIX + String(json.model_type),
    ...remoteCode(json),
    projection_ranks: Object.fromEntries(ranks),
    ...(sharedRights.size > 0 ? { projection_shared_rights: Object.fromEntries(sharedRights) } : {}),
    block_widths: Object.fromEntries([...widths].map(([block, sizes]) => [block, widthKeys(sizes)])),
    projection_biases: method.addsBias?.(options) ? [...ranks.keys()] : [],
    // How many columns and pairs is known now, which ones only after the decomposition: the first ones stand for them.
    block_rope_pairs: Object.fromEntries([...widths].flatMap(([block, sizes]) => firstPairs(model, block, sizes))),
    projection_skeletons: Object.fromEntries(skeletons.map(([name, rows]) => [name, Array.from({ length: rows }, (_, i) => i)])),
  };
}

const widthKeys = (sizes: BlockWidths) =>
  Object.fromEntries(Object.entries(sizes).map(([part, width]) => [WIDTH_KEYS[part as Part], width]));

function firstPairs({ architecture, config }: Model, block: number, { queryKey }: BlockWidths): [number, number[][]][] {
  if (queryKey === undefined) return [];
  const { keyValue } = architecture.heads.shape(config);
  return [[block, Array.from({ length: keyValue }, () => Array.from({ length: queryKey / 2 }, (_, i) => i))]];
}

function summarise(model: Model, options: Options, plan: Omit<Plan, "summary">): Omit<CompressPlan, "gains"> {
  const parametersAfter = [...plan.tensors.values()].reduce((sum, shape) => sum + valuesOf(shape), 0);
  const parts = model.architecture.parts(model.config);
  const widthOf = ({ block, name }: { block: number; name: string }) => {
    const own = parts.find(({ projections }) => projections.some((short) => name === blockPrefix(block) + short));
    const width = own && plan.widths.get(block)?.[own.part];
    return width === undefined ? {} : { width };
  };
  return {
    model: model.source,
    method: plan.method.name,
    allocate: options.allocate,
    recipe: options.recipe,
    keep: options.keep,
    keptProjections: storedInProjections(model, plan.config) / storedInProjections(model, model.config),
    keptTotal: parametersAfter / model.parameters,
    parametersBefore: model.parameters,
    parametersAfter,
    bytesAfter: parametersAfter * BYTES[plan.dtype],
    calibrationTokens: plan.measured ? options.samples * options.window : 0,
    ...planMemory(model, workOf(plan, options), options.memoryBytes),
    projections: projectionsOf(model).map(({ block, name, rows, columns }) => {
      return { name, rows, columns, rank: plan.ranks.get(name) ?? null, ...widthOf({ block, name }) };
    }),
  };
}

/** What the plan asks of memory. */
export function workOf(
  { method, measured, propagate }: Pick<Plan, "method" | "measured" | "propagate">,
  given: Pick<Options, "samples" | "window" | "statistics" | "calibration" | "allocate" | "randomTokens"> &
    Partial<Pick<Options, "joint">>,
): Work {
  const { samples, window, statistics, calibration, allocate, joint = false } = given;
  const runs = measured && statistics === undefined;
  const gradients = runs && method.needs.includes("gradients");
  const { randomTokens = randomShare(gradients) } = given;
  const tokens = runs ? samples * window * (1 + randomTokens) : 0;
  const textBytes = runs ? longestText(calibration) : 0;
  const measures = allocatorNamed(allocate).needs === "divergences";
  const models = comparesModels(method) ? 2 : 1;
  const streams = propagate === "compressed" ? 2 : 1;
  return { tokens, textBytes, streams, models, sums: measured, decomposes: true, joint, gradients, measures };
}

const valuesOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Values of all projections as they are stored, biases aside. */
function storedInProjections({ architecture }: Model, config: ModelConfig): number {
  const blocks = Array.from({ length: config.blocks }, (_, block) => architecture.projections(config, block));
  const tensors = blocks.flat().flatMap((shape) => [...projectionTensors(shape, config)]);
  return tensors.reduce((sum, [name, shape]) => sum + (name.endsWith(".bias") ? 0 : valuesOf(shape)), 0);
}

/** @throws MemoryError when the plan needs more than the user gave. */
export function checkMemory({ summary }: Plan, { memoryBytes }: Options): void {
  refuseAbove(memoryBytes, summary.peakBytes, "the plan", "--samples or --window");
}
