/** onnxruntime for Node, an optional dependency: `npm install onnxruntime-node`. */
import { FormatError, UnsupportedError } from "../errors.ts";
import { OnnxDecoder } from "./onnx-decoder.ts";

/** Undefined where it is not installed. */
export async function loadOnnxruntime(): Promise<typeof import("onnxruntime-node") | undefined> {
  try {
    return await import("onnxruntime-node");
  } catch {
    return undefined;
  }
}

/** @throws UnsupportedError without onnxruntime, FormatError for a file that it refuses. */
export async function openOnnx(path: string): Promise<OnnxDecoder> {
  const ort = await loadOnnxruntime();
  if (!ort)
    throw new UnsupportedError(
      `${path}: running it needs onnxruntime-node, which is not installed: npm install onnxruntime-node`,
    );
  try {
    return new OnnxDecoder(ort, await ort.InferenceSession.create(path, { logSeverityLevel: 3 }));
  } catch (cause) {
    throw new FormatError(path, `onnxruntime refuses it: ${(cause as Error).message}; this is a defect of rankfold, report it`);
  }
}
