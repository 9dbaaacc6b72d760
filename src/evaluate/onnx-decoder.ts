/** An exported decoder in onnxruntime, in Node or a browser, fed as transformers.js feeds it: one sequence, whole or token by token. */
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { FormatError } from "../errors.ts";

/** onnxruntime of Node or of the web: they are called alike. */
type Ort = Pick<typeof import("onnxruntime-node"), "Tensor">;

const PAST = "past_key_values.";
const PRESENT = "present.";

export class OnnxDecoder {
  private readonly ort: Ort;
  private readonly session: InferenceSession;
  private cache: Record<string, OrtTensor> = {};
  private seen = 0;

  constructor(ort: Ort, session: InferenceSession) {
    this.ort = ort;
    this.session = session;
    this.restart();
  }

  /** Forgets the tokens so far: empties the cache of every block. */
  restart(): void {
    this.seen = 0;
    const inputs = this.session.inputMetadata.filter(({ name }) => name.startsWith(PAST));
    this.cache = Object.fromEntries(inputs.map((input) => [input.name, this.emptyCache(input)]));
  }

  private emptyCache(input: InferenceSession.ValueMetadata): OrtTensor {
    if (!input.isTensor) throw new FormatError(input.name, "expected a tensor as input, got another kind of value");
    const [, heads, , width] = input.shape;
    const dims = [1, Number(heads), 0, typeof width === "number" ? width : 1]; // left open where heads are narrower
    if (input.type === "float16") return asBits(new this.ort.Tensor("float16", new Uint16Array(0), dims));
    return new this.ort.Tensor("float32", new Float32Array(0), dims);
  }

  /** Logits after each of these further tokens, t x v. */
  async advance(tokens: readonly number[]): Promise<Float32Array> {
    const count = tokens.length;
    const total = this.seen + count;
    const integers = (values: number[]) => new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    const outputs = await this.session.run({
      input_ids: integers([...tokens]),
      attention_mask: integers(Array.from({ length: total }, () => 1)),
      position_ids: integers(Array.from({ length: count }, (_, i) => this.seen + i)),
      ...this.cache,
    });
    for (const name of Object.keys(this.cache)) this.cache[name] = asBits(outputs[name.replace(PAST, PRESENT)] as OrtTensor);
    this.seen = total;
    return outputs.logits?.data as Float32Array;
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}

/**
 * onnxruntime-node gives 16-bit floats as Float16Array where Node has it (24), but reads no more than the bits, as
 * Uint16Array; transformers.js changes the same field.
 */
function asBits(tensor: OrtTensor): OrtTensor {
  const held = tensor as unknown as { cpuData: ArrayBufferView };
  if (tensor.type === "float16" && !(held.cpuData instanceof Uint16Array)) {
    const { buffer, byteOffset, byteLength } = held.cpuData;
    held.cpuData = new Uint16Array(buffer, byteOffset, byteLength / Uint16Array.BYTES_PER_ELEMENT);
  }
  return tensor;
}
