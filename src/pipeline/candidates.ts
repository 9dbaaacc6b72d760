/** What a compression may replace: the model's projections that the user did not exclude, and the parts of a block that they make up. */
import type { Allocation, Candidates, Curve, PartCandidate, ProjectionCandidate, Target, Trials } from "../allocate/allocator.ts";
import type { Gain } from "../allocate/gain.ts";
import { gainsOf } from "../allocate/gains.ts";
import { blockSizes, keepOf, lastBlocks } from "../allocate/last-blocks.ts";
import { allocatorNamed } from "../allocate/registry.ts";
import { UsageError } from "../errors.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import type { Part, PartShape, ProjectionShape } from "../models/model.ts";
import { blockPrefix, nameInBlock } from "../models/weights.ts";
import type { Options } from "./plan.ts";

/** What was measured for an allocator. */
export interface Measurements {
  /** By the name of a projection or of a block's part. */
  readonly curves: ReadonlyMap<string, Curve>;
  /** One a block. */
  readonly influences?: readonly number[];
}

export type PlacedProjection = ProjectionShape & { readonly block: number };

/** Every projection of the model, in order. */
export function projectionsOf({ architecture, config }: Model): PlacedProjection[] {
  const blocks = Array.from({ length: config.blocks }, (_, block) => block);
  return blocks.flatMap((block) => architecture.projections(config, block).map((shape) => ({ ...shape, block })));
}

/** The projections that `--include` and `--exclude` leave. */
export function candidatesOf(model: Model, { include, exclude }: Pick<Options, "include" | "exclude">): PlacedProjection[] {
  const [wanted, unwanted] = [pattern("include", include), pattern("exclude", exclude)];
  return projectionsOf(model).filter(({ name }) => (wanted?.test(name) ?? true) && !unwanted?.test(name));
}

function pattern(option: string, source: string | undefined): RegExp | undefined {
  try {
    return source === undefined ? undefined : new RegExp(source);
  } catch (cause) {
    throw new UsageError(`--${option} ${source}: is not a regular expression (${(cause as Error).message})`);
  }
}

/**
 * The options with the fraction that is kept, where `last-blocks` is told its blocks and what they keep.
 * @throws UsageError when another allocator is told so, or only half of it.
 */
export function withScheduledKeep(model: Model, options: Options): Options {
  const { allocate, blocks, blockKeep } = options;
  if (blocks === undefined && blockKeep === undefined) return options;
  if (allocate !== lastBlocks.name)
    throw new UsageError(`--blocks and --block-keep are read by --allocate last-blocks alone, got ${allocate}; leave them out`);
  if (blocks === undefined)
    throw new UsageError(`--block-keep ${blockKeep}: expected the number of blocks too; give it with --blocks`);
  if (blockKeep === undefined) return options;
  const sizes = [...blockSizes(candidatesOf(model, options)).values()];
  return { ...options, keep: Number(keepOf({ blocks, blockKeep }, sizes).toFixed(4)) };
}

/** A block's part among the names of projections. */
export const partName = (block: number, part: Part) => `${blockPrefix(block)}${part}`;

/** The parts of a block all of whose projections are among these. */
export function partsOf({ architecture, config }: Model, shapes: readonly PlacedProjection[]): PartShape[] {
  const names = new Set(shapes.map(({ name }) => nameInBlock(name)));
  return architecture.parts(config).filter(({ projections }) => projections.every((name) => names.has(name)));
}

/** What an allocator may know beside shapes. */
export interface Known {
  readonly measurements?: Measurements;
  readonly trials?: Trials;
}

/** @throws UsageError where the allocator gives ranks alone, and the method makes no factors. */
export function checkPair(method: string, allocate: string): void {
  if (!methodNamed(method).parts || allocatorNamed(allocate).parts !== "never") return;
  throw new UsageError(
    `--allocate ${allocate} chooses ranks, and --method ${method} makes no factors; take uniform or influence`,
  );
}

/** What an allocator chose, and what that does. */
export interface Choice extends Allocation {
  readonly gains: readonly Gain[];
}

/** The allocator's choice. */
export function allocate(model: Model, options: Options, { measurements, trials }: Known = {}): Choice {
  const candidates = offered(model, options, measurements);
  const allocation = allocatorNamed(options.allocate).allocate(candidates, targetOf(options), trials);
  return { ...allocation, gains: gainsOf(candidates, allocation) };
}

export const targetOf = (options: Options): Target => ({ ...options, search: options });

/** What the allocator chooses among. */
export function offered(model: Model, options: Options, measurements?: Measurements): Candidates {
  const rule = allocatorNamed(options.allocate);
  const factored = !methodNamed(options.method).parts;
  const shapes = candidatesOf(model, options);
  const projections = shapes.map((shape): ProjectionCandidate => ({ ...shape, ...measurements?.curves.get(shape.name) }));
  const blocks = [...new Set(shapes.map(({ block }) => block))];
  const parts =
    factored && rule.parts !== "beside" ? [] : blocks.flatMap((block) => partCandidates(model, shapes, block, measurements));
  return { projections, factored, parts, influences: measurements?.influences };
}

function partCandidates(
  model: Model,
  shapes: readonly PlacedProjection[],
  block: number,
  measurements: Measurements | undefined,
): PartCandidate[] {
  const inBlock = shapes.filter((shape) => shape.block === block);
  return partsOf(model, inBlock).map(({ part, width, step, projections }) => {
    const names = projections.map((name) => blockPrefix(block) + name);
    const own = inBlock.filter(({ name }) => names.includes(name));
    const parameters = own.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    const curve = measurements?.curves.get(partName(block, part));
    return { block, part, projections: names, width, step, parametersPerUnit: parameters / width, ...curve };
  });
}
