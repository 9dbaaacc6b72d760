/** What a compression may replace: the model's projections that the user did not exclude, and whole MLPs of them. */
import type { Allocation, ChannelCandidate, Curve, ProjectionCandidate } from "../allocate/allocator.ts";
import { blockSizes, keepOf, lastBlocks } from "../allocate/last-blocks.ts";
import { allocatorNamed } from "../allocate/registry.ts";
import { UsageError } from "../errors.ts";
import type { Model } from "../models/load.ts";
import type { ProjectionShape } from "../models/model.ts";
import { blockPrefix } from "../models/weights.ts";
import type { Options } from "./plan.ts";

/** What was measured of the modules, by projection name and by block. */
export interface Measurements {
  readonly projections: ReadonlyMap<string, Curve>;
  readonly channels: ReadonlyMap<number, Curve>;
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

/** The allocator's choice. */
export function allocate(model: Model, options: Options, measurements?: Measurements): Allocation {
  const shapes = candidatesOf(model, options);
  const projections = shapes.map((shape): ProjectionCandidate => ({ ...shape, ...measurements?.projections.get(shape.name) }));
  const blocks = [...new Set(shapes.map(({ block }) => block))];
  const channels = measurements ? blocks.flatMap((block) => channelsOf(model, shapes, block, measurements)) : [];
  return allocatorNamed(options.allocate).allocate({ projections, channels }, options);
}

/** The block's MLP, where all its projections are candidates and it was measured. */
function channelsOf(
  model: Model,
  shapes: readonly PlacedProjection[],
  block: number,
  measurements: Measurements,
): ChannelCandidate[] {
  const { inputs, output } = model.architecture.channels;
  const names = [...inputs, output].map((name) => blockPrefix(block) + name);
  const own = shapes.filter(({ name }) => names.includes(name));
  const known = measurements.channels.get(block);
  if (own.length < names.length || !known) return [];
  const width = own.find(({ name }) => name === blockPrefix(block) + output)?.columns ?? 0;
  const parameters = own.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  return [{ block, projections: names, width, parametersPerChannel: parameters / width, ...known }];
}
