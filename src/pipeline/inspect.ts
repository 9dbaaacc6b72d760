/** `inspect`: what a model is, before anything is computed. */

import type { z } from "zod";
import { breakEvenRank } from "../allocate/size.ts";
import { loadModel, type Model } from "../models/load.ts";
import type { ProjectionShape } from "../models/model.ts";
import { nameInBlock } from "../models/weights.ts";
import type { Job } from "./job.ts";
import { readManifest } from "./manifest.ts";
import type { inspectOptions } from "./options.ts";
import type { InspectResult } from "./results.ts";

export async function inspect({ model: given }: z.output<typeof inspectOptions>, job: Job): Promise<InspectResult> {
  const model = await loadModel(given, job);
  const { config } = model;
  return {
    model: model.source,
    modelType: config.modelType,
    blocks: config.blocks,
    hiddenSize: config.hiddenSize,
    vocabulary: config.vocabulary,
    parameters: model.parameters,
    bytes: model.bytes,
    formats: formatsOf(model),
    compressedBy: readManifest(model.path)?.method ?? null,
    projections: projectionTable(model),
  };
}

/** How the weights are stored, the format of most bytes first. */
export function formatsOf({ checkpoint }: Model): string[] {
  const bytes = new Map<string, number>();
  for (const info of checkpoint.tensors.values()) bytes.set(info.format, (bytes.get(info.format) ?? 0) + info.bytes);
  return [...bytes].sort((a, b) => b[1] - a[1]).map(([format]) => format);
}

/** One row for each projection name and shape, with the range of its ranks over the blocks. */
function projectionTable({ architecture, config }: Model): InspectResult["projections"] {
  const groups = new Map<string, ProjectionShape[]>();
  for (let block = 0; block < config.blocks; block++) {
    for (const shape of architecture.projections(config, block)) {
      const key = `${nameInBlock(shape.name)} ${shape.rows} ${shape.columns}`;
      groups.set(key, [...(groups.get(key) ?? []), shape]);
    }
  }
  return [...groups].map(([key, shapes]) => {
    const { rows, columns } = shapes[0] as ProjectionShape;
    const ranks = shapes.flatMap(({ name }) => config.ranks.get(name) ?? []);
    return {
      name: key.split(" ")[0] as string,
      rows,
      columns,
      blocks: shapes.length,
      breakEvenRank: Math.floor(breakEvenRank({ rows, columns })),
      ranks: ranks.length > 0 ? [Math.min(...ranks), Math.max(...ranks)] : null,
    };
  });
}
