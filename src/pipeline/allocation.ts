/** What the options' allocator chooses at any keep, with what it has to know measured at most once. */
import { allocatorNamed } from "../allocate/registry.ts";
import { uniform } from "../allocate/uniform.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import type { Model } from "../models/load.ts";
import { allocate, type Choice } from "./candidates.ts";
import type { Job } from "./job.ts";
import { measurementsOf } from "./measurements.ts";
import type { Options } from "./plan.ts";
import { trialsOf } from "./trials.ts";

export function allocationsOf(
  model: Model,
  options: Options,
  stored: StatisticsFolder | undefined,
  job: Job,
): (keep: number) => Choice {
  const { needs } = allocatorNamed(options.allocate);
  if (needs === "shapes") return (keep) => allocate(model, { ...options, keep });
  // A plan of what was never measured: in all it comes to the same size.
  if (!stored) return (keep) => allocate(model, { ...options, keep, allocate: uniform.name });
  if (needs === "trials") {
    return (keep) => allocate(model, { ...options, keep }, { trials: trialsOf(model, stored, { ...options, keep }, job) });
  }
  const measurementsAt = measurementsOf(model, stored, options, job);
  return (keep) => allocate(model, { ...options, keep }, { measurements: measurementsAt(keep) });
}
