/**
 * Statistics on disk: one safetensors file a block, and `statistics.json` that says of which model and texts they are.
 * For each site `<site>.gram` (the lower triangle of sum x x^T, row by row) and `<site>.moments` ((3 + B) x n: sum of x, sum of |x|,
 * largest |x|, and sqrt(t) mean(x) of each of B batches of t tokens), all f64 and not divided by the token count, so that the
 * statistics of several texts add up. Where asked for,
 * another file a block with `<projection>.gradients`, the lower triangle of sum g g^T of the gradients at its output, f32.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { FormatError, UsageError } from "../errors.ts";
import { readJson } from "../formats/json.ts";
import { SafetensorsFile } from "../formats/safetensors.ts";
import { SafetensorsWriter } from "../formats/safetensors-writer.ts";
import { storage } from "../formats/storage.ts";
import type { InputStatistics } from "../methods/method.ts";
import { scope, symmetric, type Tensor } from "../tensor/index.ts";
import { inputStatistics, MOMENTS, type SiteStatistics } from "./statistics.ts";
import { parseManifest, type StatisticsManifest, type StoredFile } from "./statistics-manifest.ts";

export const MANIFEST = "statistics.json";
const ACTIVATIONS = "activations";

const HASH_CHUNK = 1 << 20;

/** The sums of one site. */
export interface StoredSums {
  /** n (n + 1) / 2 values. */
  readonly triangle: Tensor;
  /** (3 + B) x n. */
  readonly moments: Tensor;
}

/** Writes a folder of statistics; it has its name once it is whole. */
const numbered = (block: number) => String(block).padStart(5, "0");

export class StatisticsWriter {
  private readonly partial: string;
  private readonly files: StoredFile[] = [];
  private readonly gradients: StoredFile[] = [];

  /** @throws UsageError when the folder exists and is not empty. */
  constructor(private readonly out: string) {
    if (existsSync(out) && storage(out, () => readdirSync(out)).length > 0)
      throw new UsageError(`-o ${out}: is not empty; give a folder that does not exist or is empty`);
    this.partial = `${out}.partial`;
    this.remove();
    storage(out, () => mkdirSync(this.partial, { recursive: true }));
  }

  /** Writes the next block's sums. */
  save(sites: ReadonlyMap<string, StoredSums>): void {
    const tensors = [...sites].flatMap(([site, { triangle, moments }]): [string, Tensor][] => [
      [`${site}.gram`, triangle],
      [`${site}.moments`, moments],
    ]);
    this.files.push(this.write(`block-${numbered(this.files.length)}.safetensors`, tensors, "f64"));
  }

  /** Writes the Gram matrices (lower triangles) of a block's output gradients, by projection; the last block comes first. */
  saveGradients(block: number, triangles: ReadonlyMap<string, Tensor>): void {
    const tensors = [...triangles].map(([name, triangle]): [string, Tensor] => [`${name}.gradients`, triangle.to("f32")]);
    this.gradients[block] = this.write(`gradients-${numbered(block)}.safetensors`, tensors, "f32");
  }

  private write(file: string, tensors: readonly [string, Tensor][], dtype: "f64" | "f32"): StoredFile {
    const layout = tensors.map(([name, { shape }]) => ({ name, shape, dtype }));
    const writer = SafetensorsWriter.create(this.partial, { tensors: layout, file });
    for (const [name, tensor] of tensors) writer.write(name, tensor);
    writer.finish();
    return { file, sha256: hashFile(join(this.partial, file)) };
  }

  finish(manifest: Omit<StatisticsManifest, "files">): StatisticsManifest {
    const whole = { ...manifest, files: this.files, ...(this.gradients.length > 0 ? { gradients: this.gradients } : {}) };
    storage(this.out, () => {
      rmSync(this.activationsFile, { force: true });
      writeFileSync(join(this.partial, MANIFEST), `${JSON.stringify(whole, null, 2)}\n`, { flush: true });
      if (existsSync(this.out)) rmdirSync(this.out);
      renameSync(this.partial, this.out);
    });
    return whole;
  }

  /** The file for activations that do not fit in memory; gone when the folder is whole. */
  get activationsFile(): string {
    return join(this.partial, ACTIVATIONS);
  }

  /** Takes away what was written so far. */
  remove(): void {
    rmSync(this.partial, { recursive: true, force: true });
  }
}

/** A folder of statistics, read block by block. */
export class StatisticsFolder {
  private constructor(
    readonly path: string,
    readonly manifest: StatisticsManifest,
  ) {}

  /** @throws FormatError when the folder holds no statistics, or those of a later version. */
  static open(path: string): StatisticsFolder {
    const file = join(path, MANIFEST);
    if (!existsSync(file)) throw new FormatError(path, `expected ${MANIFEST}, found none; make it with rankfold calibrate`);
    return new StatisticsFolder(path, parseManifest(file, readJson(file)));
  }

  /** @throws FormatError when the block's file is missing or damaged. */
  block(index: number): StoredBlock {
    const gradients = this.manifest.gradients?.[index];
    const sums = this.checked(this.manifest.files[index] ?? this.noBlock(index));
    return new StoredBlock(sums, this.manifest.tokens, gradients && this.checked(gradients));
  }

  private checked({ file, sha256 }: StoredFile): SafetensorsFile {
    const path = join(this.path, file);
    if (!existsSync(path))
      throw new FormatError(path, `expected this file, which ${MANIFEST} lists, found none; calibrate again`);
    if (hashFile(path) !== sha256)
      throw new FormatError(
        path,
        `expected the SHA-256 that ${MANIFEST} says, got another; the file is damaged, calibrate again`,
      );
    return new SafetensorsFile(path);
  }

  private noBlock(index: number): never {
    throw new FormatError(this.path, `expected statistics of block ${index}, found ${this.manifest.files.length} blocks`);
  }
}

/** The sums of one block, from its file. */
export class StoredBlock implements SiteStatistics {
  constructor(
    private readonly file: SafetensorsFile,
    private readonly tokens: number,
    private readonly gradients?: SafetensorsFile | undefined,
  ) {}

  /** Sites in the order of the file. */
  get sites(): string[] {
    return [...this.file.entries.keys()].filter((name) => name.endsWith(".gram")).map((name) => name.slice(0, -".gram".length));
  }

  /** @throws FormatError when the site is missing or its tensors contradict one another. The caller's scope owns them. */
  sums(site: string): StoredSums {
    const triangle = this.file.read(`${site}.gram`);
    const moments = this.file.read(`${site}.moments`);
    const width = moments.shape[1] ?? 0;
    const fits =
      moments.shape.length === 2 && moments.rows >= MOMENTS && String(triangle.shape) === `${(width * (width + 1)) / 2}`;
    if (!fits || triangle.dtype !== "f64" || moments.dtype !== "f64")
      throw new FormatError(
        this.file.path,
        `site ${site}: expected f64 of 3 x n or more and n (n + 1) / 2 values, got other tensors`,
      );
    return { triangle, moments };
  }

  statistics(site: string, where: string): InputStatistics {
    return scope(() => {
      const { triangle, moments } = this.sums(site);
      if (!triangle.isFinite() || !moments.isFinite())
        throw new FormatError(this.file.path, `${where}, ${site}: expected finite sums, got NaN or infinity; calibrate again`);
      const summed = inputStatistics(symmetric(triangle, moments.columns), moments, this.tokens);
      return this.gradients ? { ...summed, outputGradients: (projection) => this.outputGradients(projection) } : summed;
    });
  }

  /** The lower triangles of the output gradients' Gram matrices, f32, by projection; none where they were not summed. */
  gradientTriangles(): Map<string, Tensor> {
    const names = [...(this.gradients?.entries.keys() ?? [])].map((name) => name.slice(0, -".gradients".length));
    return new Map(names.map((name) => [name, this.gradientTriangle(name)]));
  }

  private gradientTriangle(projection: string): Tensor {
    return (this.gradients as SafetensorsFile).read(`${projection}.gradients`);
  }

  private outputGradients(projection: string): Tensor {
    return scope(() => {
      const triangle = this.gradientTriangle(projection);
      return symmetric(triangle.to("f64"), Math.round((Math.sqrt(8 * triangle.size + 1) - 1) / 2));
    });
  }

  close(): void {
    this.file.close();
    this.gradients?.close();
  }
}

/** SHA-256 of a file, read in pieces. */
function hashFile(path: string): string {
  return storage(path, () => {
    const hash = createHash("sha256");
    const chunk = Buffer.alloc(HASH_CHUNK);
    const file = openSync(path, "r");
    try {
      for (let got = readSync(file, chunk); got > 0; got = readSync(file, chunk)) hash.update(chunk.subarray(0, got));
    } finally {
      closeSync(file);
    }
    return hash.digest("hex");
  });
}
