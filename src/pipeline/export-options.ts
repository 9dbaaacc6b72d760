/** The options of `export`. */
import { z } from "zod";

/** As transformers.js names them. */
export const ONNX_DTYPES = ["fp32", "fp16", "q8", "q4", "q4f16"] as const;
export type OnnxDType = (typeof ONNX_DTYPES)[number];
export const DENSE_DTYPES = ["f32", "bf16", "f16"] as const;
export type DenseDType = (typeof DENSE_DTYPES)[number];

const oneOf = (names: readonly string[]) => (dtypes: readonly string[] | undefined) =>
  dtypes === undefined || (dtypes.every((name) => names.includes(name)) && new Set(dtypes).size === dtypes.length);

export const exportOptions = z
  .strictObject({
    /** A Hugging Face folder, a GGUF file or a rankfold output. */
    model: z.string().min(1),
    to: z.enum(["onnx", "dense"]),
    /** The folder to write; must not exist or be empty. */
    out: z.string().min(1),
    /** onnx: the files to write, all by default. dense: one of f32, bf16 and f16, the model's own by default. */
    dtype: z.array(z.string()).min(1).optional(),
    /** Run what was written and compare its logits with the model's. */
    verify: z.boolean().default(true),
    threads: z.number().int().positive().optional(),
  })
  .refine(({ to, dtype }) => to === "dense" || oneOf(ONNX_DTYPES)(dtype), {
    path: ["dtype"],
    message: `--to onnx knows ${ONNX_DTYPES.join(", ")}, each once`,
  })
  .refine(({ to, dtype }) => to === "onnx" || (oneOf(DENSE_DTYPES)(dtype) && (dtype?.length ?? 1) === 1), {
    path: ["dtype"],
    message: `--to dense knows ${DENSE_DTYPES.join(", ")}, one of them`,
  });

export type ExportOptions = z.input<typeof exportOptions>;
