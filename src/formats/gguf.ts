/** A GGUF file of the llama architecture, with the names, shapes and row order of a Hugging Face checkpoint. */
import { FormatError, UnsupportedError } from "../errors.ts";
import type { JsonObject } from "../json-object.ts";
import { MappedFile, scope, type Tensor } from "../tensor/index.ts";
import { type Checkpoint, finite, type TensorInfo } from "./checkpoint.ts";
import { headCounts, hfConfig } from "./gguf-config.ts";
import { type GgufTensor, readGgufHeader } from "./gguf-header.ts";
import { Metadata } from "./gguf-metadata.ts";
import { huggingFaceName, ROPE_FACTORS } from "./gguf-names.ts";
import { tokenizerConfig, tokenizerJson } from "./gguf-tokenizer.ts";

export class GgufCheckpoint implements Checkpoint {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  private readonly metadata: Metadata;
  /** By the names of the file. */
  private readonly stored: ReadonlyMap<string, GgufTensor>;
  private readonly places: ReadonlyMap<string, GgufTensor>;
  private readonly file: MappedFile;

  private constructor(metadata: Metadata, stored: ReadonlyMap<string, GgufTensor>) {
    this.path = metadata.file;
    this.metadata = metadata;
    this.stored = stored;
    this.places = renamed(metadata.file, stored);
    this.tensors = new Map([...this.places].map(([name, { shape, format, length }]) => [name, { shape, format, bytes: length }]));
    this.file = new MappedFile(metadata.file);
  }

  /** @throws FormatError for a damaged file, UnsupportedError for an architecture or a tensor type that is not read. */
  static async open(path: string): Promise<GgufCheckpoint> {
    const { metadata: values, tensors } = await readGgufHeader(path);
    const metadata = new Metadata(path, values);
    refuseOthers(metadata);
    return new GgufCheckpoint(metadata, tensors);
  }

  read(name: string): Tensor {
    const place = this.places.get(name);
    if (!place) throw new FormatError(this.path, `expected a tensor ${name}, found none; the model is incomplete`);
    return scope(() => finite(this.path, name, this.inRowOrder(name, this.file.read(place).to("f32"))));
  }

  /** Queries and keys are stored with the rotated halves of each head interleaved; Hugging Face keeps them apart. */
  private inRowOrder(name: string, tensor: Tensor): Tensor {
    const [, part] = /self_attn\.([qk])_proj\./.exec(name) ?? [];
    if (!part) return tensor;
    const { queries, keyValues } = headCounts(this.metadata);
    return tensor.selectRows(splitHalves(this.path, tensor.shape[0] ?? 0, part === "q" ? queries : keyValues));
  }

  /** The model's config.json. */
  hfConfig(): JsonObject {
    const factors = this.stored.get(ROPE_FACTORS);
    const ropeFactors = factors && scope(() => this.file.read(factors).toFloat32Array());
    return hfConfig({ metadata: this.metadata, tensors: this.stored, ropeFactors });
  }

  /** The tokenizer as tokenizer.json. @throws UnsupportedError when it is not a byte-level BPE that is known. */
  tokenizerJson(): JsonObject {
    return tokenizerJson(this.metadata);
  }

  tokenizerConfig(): JsonObject {
    return tokenizerConfig(this.metadata);
  }

  close(): void {
    this.file.close();
  }
}

function refuseOthers(metadata: Metadata): void {
  const { file } = metadata;
  const architecture = metadata.string("general.architecture");
  if (architecture !== "llama") {
    throw new UnsupportedError(
      `${file}: expected the architecture llama, got ${architecture ?? "none"}; give the Hugging Face folder of the model`,
    );
  }
  const parts = metadata.number("split.count") ?? 1;
  if (parts > 1)
    throw new UnsupportedError(
      `${file}: expected a whole model, got one of ${parts} parts; join them with llama-gguf-split --merge`,
    );
}

function renamed(file: string, stored: ReadonlyMap<string, GgufTensor>): ReadonlyMap<string, GgufTensor> {
  const places = new Map<string, GgufTensor>();
  for (const [name, place] of stored) {
    if (name === ROPE_FACTORS) continue;
    const ours = huggingFaceName(name);
    if (ours === undefined)
      throw new UnsupportedError(
        `${file}: tensor ${name}: expected tensors of a dense llama, got one more; give the Hugging Face folder of the model`,
      );
    places.set(ours, place);
  }
  return places;
}

/** For each row of the checkpoint the row of the file: in a head, row c e/2 + j comes from row 2 j + c. */
function splitHalves(file: string, rows: number, heads: number): Uint32Array {
  const width = rows / heads;
  if (width % 2 !== 0)
    throw new FormatError(file, `expected ${heads} heads of an even width in the queries and keys, got ${rows} rows`);
  return Uint32Array.from({ length: rows }, (_, row) => {
    const [start, inHead] = [row - (row % width), row % width];
    return start + 2 * (inHead % (width / 2)) + Math.floor(inHead / (width / 2));
  });
}
