/**
 * `--joint`: projections that read one input and are both factored share the right factor, [W_1; W_2] ~ [A_1; A_2] B, so that what
 * they store buys a larger rank: the joint rank-k of arXiv:2402.16319, in the metric of whichever method decomposes the stack.
 */
import { UsageError } from "../errors.ts";
import { methodNamed } from "../methods/registry.ts";
import type { Model } from "../models/load.ts";
import type { Architecture, ProjectionShape } from "../models/model.ts";
import { nameInBlock } from "../models/weights.ts";
import type { Options } from "./plan.ts";

export interface JointRanks {
  /** Rank of every projection that is factored, by full name. */
  readonly ranks: ReadonlyMap<string, number>;
  /** Those that read another one's right factor, and which. */
  readonly sharedRights: ReadonlyMap<string, string>;
}

/** @throws UsageError for a method whose factors cannot be shared. */
export function checkJoint({ joint, method: name }: Pick<Options, "joint" | "method">): void {
  if (!joint) return;
  const { parts, skeletonRows, needs } = methodNamed(name);
  const why = parts
    ? "makes no factors"
    : skeletonRows
      ? "stores columns of one weight in place of a right factor"
      : needs.includes("gradients") && "weighs the outputs of each projection by itself";
  if (why) throw new UsageError(`--joint: --method ${name} ${why}; take svd, svd-llm or another that factors by inputs alone`);
}

/** The same size; where it is asked for, with a shared right factor wherever all projections of a stack are factored. */
export function joined(
  { architecture, config }: Model,
  ranks: ReadonlyMap<string, number>,
  { joint, rankMultiple }: Pick<Options, "joint" | "rankMultiple">,
): JointRanks {
  const made = new Map(ranks);
  const sharedRights = new Map<string, string>();
  const blocks = Array.from({ length: joint ? config.blocks : 0 }, (_, block) => architecture.projections(config, block));
  for (const stack of blocks.flatMap((shapes) => stacksAmong(architecture, shapes))) {
    if (!stack.every(({ name }) => ranks.has(name))) continue;
    const rank = jointRank(stack, ranks, rankMultiple);
    const [owner, ...others] = stack.map(({ name }) => name) as [string, ...string[]];
    for (const name of [owner, ...others]) made.set(name, rank);
    for (const name of others) sharedRights.set(name, owner);
  }
  return { ranks: made, sharedRights };
}

/** The stacks that these projections of a block make up. */
export function stacksAmong({ stacks }: Architecture, shapes: readonly ProjectionShape[]): ProjectionShape[][] {
  const members = (stack: readonly string[]) => shapes.filter(({ name }) => stack.includes(nameInBlock(name)));
  return stacks.map(members).filter(({ length }) => length > 1);
}

/** The largest rank at which the stack stores no more than its projections apart would. */
function jointRank(stack: readonly ProjectionShape[], ranks: ReadonlyMap<string, number>, multiple: number): number {
  const columns = (stack[0] as ProjectionShape).columns;
  const rows = stack.reduce((sum, member) => sum + member.rows, 0);
  const stored = stack.reduce((sum, member) => sum + (ranks.get(member.name) as number) * (member.rows + columns), 0);
  const most = Math.min(Math.floor(stored / (rows + columns)), rows, columns);
  return Math.max(1, most >= multiple ? most - (most % multiple) : most);
}
