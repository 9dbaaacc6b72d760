/** Which projection of its block a candidate is: the last part of its name, `q_proj`, the same in every block. */
import type { ProjectionCandidate } from "./allocator.ts";

export function kindOf({ name }: Pick<ProjectionCandidate, "name">): string {
  return name.slice(name.lastIndexOf(".") + 1);
}

/** The items by the key of each, keys in the order of their first item. */
export function groupedBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
