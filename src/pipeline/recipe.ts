/** The method and the allocator of a compression, where the user leaves them open: what needs no training and loses least. */
import { existsSync } from "node:fs";
import { auto } from "../allocate/auto.ts";
import { allocatorNamed } from "../allocate/registry.ts";
import { uniform } from "../allocate/uniform.ts";
import { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { kfac } from "../methods/kfac.ts";
import { svdLlm } from "../methods/svd-llm.ts";
import type { GivenOptions, Options } from "./plan.ts";

export interface Recipe {
  readonly method: string;
  readonly allocate: string;
  /** One sentence: who chose them, or what they were chosen for. */
  readonly recipe: string;
}

/** What the user names is taken; a method alone is compared as papers do, at one fraction of every projection. */
export function recipeOf({ method, allocate, statistics }: GivenOptions): Recipe {
  if (method !== undefined && allocate !== undefined) return { method, allocate, recipe: "as asked for" };
  if (method !== undefined) return { method, allocate: uniform.name, recipe: `${uniform.name}, for --method alone was given` };
  const chosen = bestMethod(statistics);
  if (allocate !== undefined) return { ...chosen, allocate, recipe: `${chosen.method} for --allocate alone: ${chosen.recipe}` };
  return { ...chosen, allocate: auto.name, recipe: `${chosen.method} with ${auto.name} by default: ${chosen.recipe}` };
}

/** What a plan says that has nothing measured to choose by. */
export function withoutStatistics(options: Options): Options {
  const { allocate, recipe } = options;
  if (allocatorNamed(allocate).needs === "shapes") return options;
  return { ...options, recipe: `${recipe}; sizes are uniform here, for ${allocate} chooses them once it has measured` };
}

function bestMethod(statistics: string | undefined): Pick<Recipe, "method" | "recipe"> {
  const lacksGradients =
    statistics !== undefined && existsSync(statistics) && !StatisticsFolder.open(statistics).manifest.gradients;
  if (!lacksGradients) return { method: kfac.name, recipe: "of what needs no training it has lost least (docs/allocation.md)" };
  return { method: svdLlm.name, recipe: `${kfac.name} would lose less, but the statistics hold no gradients` };
}
