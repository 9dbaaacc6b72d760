/**
 * Choosing one option of every group so that the sum of errors is least under a total size (a multiple-choice knapsack).
 * Solved on the lower convex hulls, steepest step first: the optimum of the Lagrangian relaxation, and within one step of
 * the exact one, which with thousands of options is nothing.
 */

export interface Option<Choice> {
  /** Values stored. */
  readonly size: number;
  readonly error: number;
  readonly choice: Choice;
}

type Options<Choice> = readonly Option<Choice>[];

/** The options that are best for some price of size: size up, error down, each step less steep than the one before. */
export function lowerHull<Choice>(options: Options<Choice>): Option<Choice>[] {
  const sorted = [...options].sort((a, b) => a.size - b.size || a.error - b.error);
  const hull: Option<Choice>[] = [];
  for (const option of sorted) {
    if (option.error >= (hull.at(-1)?.error ?? Number.POSITIVE_INFINITY)) continue;
    while (hull.length > 1 && gain(hull.at(-1), option) >= gain(hull.at(-2), hull.at(-1))) hull.pop();
    hull.push(option);
  }
  return hull;
}

/** Error saved for each value stored, going from one option to a larger one. */
function gain(from: Option<unknown> | undefined, to: Option<unknown> | undefined): number {
  return from && to ? (from.error - to.error) / (to.size - from.size) : Number.POSITIVE_INFINITY;
}

interface Step {
  readonly group: number;
  /** Position on the group's hull that it leads to. */
  readonly to: number;
  readonly size: number;
  readonly gain: number;
}

/** Every step along the hulls, steepest first; those of one group come in their order, for a hull is convex. */
function stepsOf(hulls: readonly Options<unknown>[]): Step[] {
  const steps = hulls.flatMap((hull, group) =>
    hull.slice(1).map((option, i): Step => {
      const from = hull[i] as Option<unknown>;
      return { group, to: i + 1, size: option.size - from.size, gain: gain(from, option) };
    }),
  );
  return steps.sort((a, b) => b.gain - a.gain || a.group - b.group || a.to - b.to);
}

/** The choice of each group. The smallest options are taken even where they exceed the size. */
export function knapsack<Choice>(groups: readonly Options<Choice>[], size: number): Choice[] {
  const hulls = groups.map(lowerHull);
  const position = hulls.map(() => 0);
  let left = size - hulls.reduce((sum, hull) => sum + (hull[0]?.size ?? 0), 0);
  for (const step of stepsOf(hulls)) {
    // A step that does not fit ends its group's way up; smaller steps of other groups may still fit.
    if (step.size > left || position[step.group] !== step.to - 1) continue;
    position[step.group] = step.to;
    left -= step.size;
  }
  return hulls.map((hull, group) => (hull[position[group] as number] as Option<Choice>).choice);
}

/** Groups that are chosen together as one: the options worth having of all their combinations. */
export function combined<Choice>(groups: readonly Options<Choice>[]): Option<Choice[]>[] {
  const hulls = groups.map(lowerHull);
  const position = hulls.map(() => 0);
  const at = (): Option<Choice[]> => {
    const options = hulls.map((hull, group) => hull[position[group] as number] as Option<Choice>);
    const sum = (value: (option: Option<Choice>) => number) => options.reduce((total, option) => total + value(option), 0);
    return { size: sum((o) => o.size), error: sum((o) => o.error), choice: options.map((o) => o.choice) };
  };
  const all = [at()];
  for (const { group, to } of stepsOf(hulls)) {
    position[group] = to;
    all.push(at());
  }
  return all;
}
