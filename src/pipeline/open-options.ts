/** The options of `open`. */
import { z } from "zod";
import { ONNX_DTYPES } from "./export-options.ts";

export const openOptions = z.strictObject({
  /** A folder that `export --to onnx` wrote, or any model, which is exported first. */
  out: z.string().min(1),
  /** The same, to hold it against; by default the model that OUT was made from, where it is found. */
  against: z.string().min(1).optional(),
  /** What to run; by default fp32 for a small model, q8 for a larger one. */
  dtype: z.enum(ONNX_DTYPES).optional(),
  /** A folder for exports, the caller's to remove. */
  scratch: z.string().min(1),
  threads: z.number().int().positive().optional(),
});

export type OpenOptions = z.input<typeof openOptions>;
