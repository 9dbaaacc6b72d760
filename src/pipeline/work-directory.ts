/**
 * Where a run writes its model until it is whole, so that a kill loses at most one block: `OUT.partial` beside `OUT`.
 * A block's tensors are written in their place and synced before the journal says, with their checksum, that they are there.
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FormatError, UsageError } from "../errors.ts";
import { type Layout, SafetensorsWriter } from "../formats/safetensors-writer.ts";
import { storage } from "../formats/storage.ts";
import type { ModelConfig } from "../models/model.ts";
import { blockOf } from "../models/weights.ts";
import type { Tensor } from "../tensor/index.ts";
import { moveFolder } from "./output-folder.ts";
import type { ProjectionReport } from "./results.ts";

/** What must be equal for two runs to be one: model, options, calibration text, version. */
export type Fingerprint = Readonly<Record<string, string | number | boolean | null>>;

interface Entry {
  /** Index of the block; -1 for the tensors outside the blocks. */
  readonly block: number;
  readonly tensors: readonly string[];
  readonly sha256: string;
  readonly projections: readonly ProjectionReport[];
}

const FINGERPRINT = "run.json";
const JOURNAL = "journal.jsonl";
const ACTIVATIONS = "activations";

export class WorkDirectory {
  readonly path: string;
  private readonly writer: SafetensorsWriter;
  private readonly entries = new Map<number, Entry>();

  private constructor(path: string, writer: SafetensorsWriter, entries: readonly Entry[]) {
    this.path = path;
    this.writer = writer;
    for (const entry of entries) this.entries.set(entry.block, entry);
  }

  /**
   * @throws UsageError when the folder holds another run, or this one and `resume` was not asked for;
   * FormatError when a finished block is damaged.
   */
  static open(path: string, fingerprint: Fingerprint, layout: Layout, resume: boolean): WorkDirectory {
    if (!existsSync(join(path, FINGERPRINT))) return WorkDirectory.create(path, fingerprint, layout);
    if (!resume) throw new UsageError(`${path}: holds an unfinished run; continue it with --resume, or delete the folder`);
    checkFingerprint(path, JSON.parse(readFileSync(join(path, FINGERPRINT), "utf8")), fingerprint);
    const entries = readJournal(path);
    if (entries.length === 0)
      return new WorkDirectory(
        path,
        storage(path, () => SafetensorsWriter.create(path, layout)),
        [],
      );
    const writer = SafetensorsWriter.open(
      path,
      layout,
      entries.flatMap(({ tensors }) => tensors),
    );
    for (const entry of entries) checkEntry(path, writer, entry);
    replaceFile(join(path, JOURNAL), entries.map(line).join(""));
    return new WorkDirectory(path, writer, entries);
  }

  private static create(path: string, fingerprint: Fingerprint, layout: Layout): WorkDirectory {
    return storage(path, () => {
      mkdirSync(path, { recursive: true });
      rmSync(join(path, `${FINGERPRINT}.new`), { force: true });
      if (readdirSync(path).length > 0)
        throw new UsageError(`${path}: is to be the work folder but is not empty; delete it or give another --work-dir`);
      replaceFile(join(path, FINGERPRINT), JSON.stringify(fingerprint, null, 2));
      return new WorkDirectory(path, SafetensorsWriter.create(path, layout), []);
    });
  }

  has(block: number): boolean {
    return this.entries.has(block);
  }

  get projections(): ProjectionReport[] {
    return [...this.entries.values()].sort((a, b) => a.block - b.block).flatMap(({ projections }) => projections);
  }

  /** Writes a block's tensors; on return they are on disk and in the journal. */
  save(block: number, tensors: Iterable<readonly [string, Tensor]>, projections: readonly ProjectionReport[] = []): void {
    const names: string[] = [];
    for (const [name, tensor] of tensors) {
      this.writer.write(name, tensor);
      names.push(name);
    }
    this.writer.sync();
    const entry: Entry = { block, tensors: names, sha256: this.writer.checksum(names), projections };
    storage(this.path, () => appendFileSync(join(this.path, JOURNAL), line(entry), { flush: true }));
    this.entries.set(block, entry);
  }

  /** The planned config with the skeleton columns and rotary pairs of the blocks saved so far. */
  savedConfig(config: ModelConfig): ModelConfig {
    const saved = this.projections.flatMap(({ name, skeleton }) =>
      skeleton ? [[name, Uint32Array.from(skeleton)] as const] : [],
    );
    const pairs = this.projections.flatMap(({ name, ropePairs }) =>
      ropePairs ? [[blockOf(name), ropePairs.map((own) => Uint32Array.from(own))] as const] : [],
    );
    return {
      ...config,
      skeletons: new Map([...config.skeletons, ...saved]),
      ropePairs: new Map([...config.ropePairs, ...pairs]),
    };
  }

  /** A saved tensor, as f32. */
  read(name: string): Tensor {
    return this.writer.read(name);
  }

  /** Completes the model and moves the folder to `out`, which does not exist or is empty. */
  finish(out: string): void {
    this.writer.finish();
    moveFolder(this.path, out);
    WorkDirectory.tidy(out);
  }

  /** Takes away what a run needs and a model does not; a kill may have come before it. */
  static tidy(out: string): void {
    storage(out, () => {
      for (const file of [FINGERPRINT, JOURNAL, ACTIVATIONS]) rmSync(join(out, file), { force: true });
    });
  }

  /** The file for activations that do not fit in memory; of no use to a later run. */
  get activationsFile(): string {
    return join(this.path, ACTIVATIONS);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The file holds the whole text or what it held before, whenever the power fails. */
function replaceFile(path: string, text: string): void {
  storage(path, () => {
    writeFileSync(`${path}.new`, text, { flush: true });
    renameSync(`${path}.new`, path);
  });
}

const line = (entry: Entry) => `${JSON.stringify(entry)}\n`;

/** Whole lines alone: a kill may leave half of the last. */
function readJournal(path: string): Entry[] {
  const file = join(path, JOURNAL);
  if (!existsSync(file)) return [];
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((text) => JSON.parse(text));
  } catch {
    throw new FormatError(file, "is damaged; delete the work folder and start afresh");
  }
}

function checkEntry(path: string, writer: SafetensorsWriter, { block, tensors, sha256 }: Entry): void {
  if (writer.checksum(tensors) === sha256) return;
  throw new FormatError(
    path,
    `block ${block} is damaged, its checksum differs from the journal's; delete the work folder and start afresh`,
  );
}

/** @throws UsageError naming the first thing that differs from the run that was saved. */
export function checkFingerprint(path: string, saved: Fingerprint, fingerprint: Fingerprint): void {
  for (const key of Object.keys({ ...saved, ...fingerprint })) {
    if (saved[key] === fingerprint[key]) continue;
    throw new UsageError(
      `--resume: ${path} was made with ${key} ${saved[key]}, now it is ${fingerprint[key]}; use the same, or delete the folder`,
    );
  }
}
