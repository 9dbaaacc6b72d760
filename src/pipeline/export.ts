/** `export`: the model in the form that other programs load without code of ours. */
import type { z } from "zod";
import { loadModel } from "../models/load.ts";
import { exportDense } from "./export-dense.ts";
import { exportOnnx } from "./export-onnx.ts";
import { type DenseDType, type exportOptions, ONNX_DTYPES, type OnnxDType } from "./export-options.ts";
import type { ExportResult } from "./export-results.ts";
import type { Job } from "./job.ts";
import { peakRssBytes, stopwatch } from "./measure.ts";
import { writeFolder } from "./output-folder.ts";

export async function exportModel(options: z.output<typeof exportOptions>, job: Job): Promise<ExportResult> {
  const elapsed = stopwatch();
  const { model: path, out, to, dtype, verify } = options;
  const models = await writeFolder(out, async (folder) => {
    const model = await loadModel(path, job);
    if (to === "onnx") return exportOnnx(model, folder, { dtypes: (dtype ?? ONNX_DTYPES) as readonly OnnxDType[], verify }, job);
    return [await exportDense(model, folder, { dtype: dtype?.[0] as DenseDType | undefined, verify }, job)];
  });
  return { model: path, out, to, models, seconds: elapsed(), peakRssBytes: peakRssBytes() };
}
