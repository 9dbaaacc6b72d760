/** Allocation rules by the name that the user types. */
import { UsageError } from "../errors.ts";
import { nearestName } from "../nearest-name.ts";
import type { Allocator } from "./allocator.ts";
import { auto } from "./auto.ts";
import { bolaco } from "./bolaco.ts";
import { dRank } from "./d-rank.ts";
import { energy } from "./energy.ts";
import { influence } from "./influence.ts";
import { kl } from "./kl.ts";
import { lastBlocks } from "./last-blocks.ts";
import { strs } from "./strs.ts";
import { svdLlmV2 } from "./svd-llm-v2.ts";
import { uniform } from "./uniform.ts";

export const ALLOCATORS: readonly Allocator[] = [uniform, lastBlocks, influence, energy, svdLlmV2, dRank, strs, bolaco, kl, auto];

/** @throws UsageError naming the known rules. */
export function allocatorNamed(name: string): Allocator {
  const found = ALLOCATORS.find((allocator) => allocator.name === name);
  if (found) return found;
  const names = ALLOCATORS.map((allocator) => allocator.name);
  throw new UsageError(
    `--allocate ${name} is not known; ${nearestName(name, names) ? `did you mean ${nearestName(name, names)}? ` : ""}known are ${names.join(", ")}`,
  );
}
