/**
 * Bolaco: Bayesian optimisation of a few keeps against the measured divergence of the whole model. Ji, Xiang, Li, Xia, Ye, Duan,
 * Wang, Chen, Zhang 2024, arXiv:2405.10616. The paper's objective is perplexity with a little divergence; here it is the
 * divergence, by its logarithm, and every trial has the whole size that is asked for.
 *
 *   x    a keep for each group of projections, in [.2, 1]: q with k, o, gate, up, down; all blocks alike, or a quarter of the
 *        depth each. v stays dense
 *   w    values stored in a group's dense projections: sum w x = keep sum w, v included
 *   f    ln KL(dense || compressed), a Gaussian process; the next trials are where the expected improvement is largest
 */
import { UsageError } from "../errors.ts";
import { mulberry32 } from "../random.ts";
import type { Allocation, Allocator, ProjectionCandidate, Search, Target, Trials } from "./allocator.ts";
import { expectedImprovement, type Observation, predict } from "./gaussian-process.ts";
import { groupedBy, kindOf } from "./kind.ts";
import { projectionParameters, rankForKeep } from "./size.ts";

const DENSE = "v_proj";
const ATTENTION = ["q_proj", "k_proj", "o_proj"];
/** Keeps that the paper begins with, before they are moved to the size. */
const START = { attention: 0.5, other: 0.8 };
/** Distances over which the paper's process forgets. */
const LENGTH = { attention: 1, other: 0.8 };
const LEAST = 0.2;
/** Trials before the process is asked, and at once after that. */
const FIRST = 10;
const BATCH = 4;
/** Points among which the largest expected improvement is looked for. */
const DRAWS = 1000;
/** Half of them lie this far around the best trial, the others anywhere. */
const NEAR = 0.1;

type Point = readonly number[];

/** The groups of projections, a coordinate each. */
interface Space {
  readonly groups: readonly (readonly ProjectionCandidate[])[];
  /** Of each group. */
  readonly w: readonly number[];
  /** Values for the groups to store: sum w x. */
  readonly size: number;
  readonly rankMultiple: number;
}

export const bolaco: Allocator = {
  name: "bolaco",
  title: "Bolaco: Bayesian optimisation of the whole model's divergence",
  needs: "trials",
  parts: "never",
  allocate({ projections }, target, trials) {
    const search = target.search as Search;
    const space = spaceOf(projections, target, search);
    const own = optimise(space, trials as Trials, search);
    const best = own.reduce((a, b) => (b.value < a.value ? b : a));
    return allocationAt(space, best.point);
  },
};

function optimise(space: Space, trials: Trials, { trials: count, seed }: Search): Observation[] {
  const random = mulberry32(seed);
  const known = trials.earlier.flatMap(({ allocation, divergence }) => observed(pointOf(space, allocation), divergence));
  const own: Observation[] = [];
  const measure = (points: readonly Point[]) => {
    const divergences = trials.measure(points.map((point) => allocationAt(space, point)));
    own.push(...points.flatMap((point, i) => observed(point, divergences[i] as number)));
  };
  const draws = Array.from({ length: Math.min(FIRST, count) - 1 }, () => randomPoint(space, random));
  measure([startOf(space), ...draws]);
  while (own.length < count) measure(proposals(space, { known, own }, Math.min(BATCH, count - own.length), random));
  return own;
}

function observed(point: Point | undefined, divergence: number): Observation[] {
  // Below 1e-9 nats a mean of f32 logarithms is rounding.
  return point ? [{ point, value: Math.log(Math.max(divergence, 1e-9)) }] : [];
}

interface Seen {
  readonly known: readonly Observation[];
  readonly own: readonly Observation[];
}

/** The points with the largest expected improvement, each after believing what is expected of those before it. */
function proposals(space: Space, { known, own }: Seen, count: number, random: () => number): Point[] {
  const best = own.reduce((a, b) => (b.value < a.value ? b : a));
  const lengths = space.groups.map((group) => LENGTH[typeOf(group)]);
  const believed: Observation[] = [];
  for (let i = 0; i < count; i++) {
    const draws = Array.from({ length: DRAWS }, (_, j) => (j % 2 ? randomPoint(space, random) : near(space, best.point, random)));
    const predictions = predict([...known, ...own, ...believed], draws, lengths);
    const gains = predictions.map((prediction) => expectedImprovement(prediction, best.value));
    const next = gains.indexOf(Math.max(...gains));
    believed.push({ point: draws[next] as Point, value: predictions[next]?.mean as number });
  }
  return believed.map(({ point }) => point);
}

/** @throws UsageError when v alone, with the least of all others, is larger than the size. */
function spaceOf(projections: readonly ProjectionCandidate[], { keep, rankMultiple }: Target, { depthGroups }: Search): Space {
  const blocks = [...new Set(projections.map(({ block }) => block))].sort((a, b) => a - b);
  const depth = (block: number) => Math.floor((depthGroups * blocks.indexOf(block)) / blocks.length);
  const nameOf = (candidate: ProjectionCandidate) => {
    const kind = kindOf(candidate);
    return `${kind === "k_proj" ? "q_proj" : kind} ${depth(candidate.block)}`;
  };
  const free = projections.filter((candidate) => kindOf(candidate) !== DENSE);
  const groups = [...groupedBy(free, nameOf).values()];
  const w = groups.map((group) => group.reduce((sum, { rows, columns }) => sum + rows * columns, 0));
  const all = projections.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const freeSize = w.reduce((a, b) => a + b, 0);
  const size = keep * all - (all - freeSize);
  if (size >= LEAST * freeSize) return { groups, w, size, rankMultiple };
  const least = ((all - freeSize + LEAST * freeSize) / all).toFixed(2);
  throw new UsageError(`--allocate bolaco: keeps at least ${least} of this model, got --keep ${keep}; ask for more, or use kl`);
}

const typeOf = (group: readonly ProjectionCandidate[]) =>
  group.some((candidate) => ATTENTION.includes(kindOf(candidate))) ? "attention" : "other";

function startOf(space: Space): Point {
  return fitted(
    space,
    space.groups.map((group) => START[typeOf(group)]),
  );
}

function randomPoint(space: Space, random: () => number): Point {
  return fitted(
    space,
    space.w.map(() => LEAST + (1 - LEAST) * random()),
  );
}

function near(space: Space, center: Point, random: () => number): Point {
  return fitted(
    space,
    center.map((value) => value + NEAR * (2 * random() - 1)),
  );
}

/** The point moved along (1, ..., 1), within its bounds, to where it stores the size; f64 halves its 2 at most 53 times. */
function fitted({ w, size }: Space, point: Point): Point {
  const moved = (by: number) => point.map((value) => Math.min(1, Math.max(LEAST, value + by)));
  const stored = (by: number) => moved(by).reduce((sum, value, i) => sum + value * (w[i] as number), 0);
  let [below, above] = [-1, 1];
  for (let i = 0; i < 53; i++) {
    const middle = (below + above) / 2;
    if (stored(middle) <= size) below = middle;
    else above = middle;
  }
  return moved(below);
}

function allocationAt({ groups, rankMultiple }: Space, point: Point): Allocation {
  const ranks = groups.flatMap((group, i) =>
    group.map((candidate) => [candidate.name, rankForKeep(candidate, point[i] as number, rankMultiple)] as const),
  );
  return { ranks: new Map(ranks.flatMap(([name, rank]) => (rank === undefined ? [] : [[name, rank]]))), widths: new Map() };
}

/** The point that an allocation lies at, where its groups are kept evenly, to one rank, and all else is dense. */
function pointOf({ groups, w, rankMultiple }: Space, { ranks, widths }: Allocation): Point | undefined {
  const free = new Set(groups.flat().map(({ name }) => name));
  if (widths.size > 0 || [...ranks.keys()].some((name) => !free.has(name))) return undefined;
  const stored = (candidate: ProjectionCandidate) => projectionParameters(candidate, ranks.get(candidate.name));
  const point = groups.map((group, i) => group.reduce((sum, candidate) => sum + stored(candidate), 0) / (w[i] as number));
  const isEven = groups.every((group, i) =>
    group.every((candidate) => {
      const { rows, columns } = candidate;
      return Math.abs(stored(candidate) - (point[i] as number) * rows * columns) <= rankMultiple * (rows + columns);
    }),
  );
  return isEven ? point : undefined;
}
