/**
 * Where a refinement keeps what it has reached, so that a kill loses minutes: a folder with the tensors of its last save, and
 * `state.json`, which names them. The file of tensors is whole before `state.json` is replaced, which happens at once.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { SafetensorsFile } from "../formats/safetensors.ts";
import { SafetensorsWriter, type WrittenDType } from "../formats/safetensors-writer.ts";
import { storage } from "../formats/storage.ts";
import type { Position } from "../refine/course.ts";
import type { SavedTensor } from "../refine/saved.ts";
import { scope } from "../tensor/index.ts";
import { checkFingerprint, type Fingerprint } from "./work-directory.ts";

const STATE = "state.json";

interface Saved {
  readonly fingerprint: Fingerprint;
  readonly position: Position;
  /** The file of tensors. */
  readonly file: string;
}

export class RefinementState {
  readonly path: string;
  private readonly fingerprint: Fingerprint;
  private saved: Saved | undefined;

  /** @throws UsageError when the folder holds another refinement, or this one and `resume` was not asked for. */
  constructor(path: string, fingerprint: Fingerprint, resume: boolean) {
    this.path = path;
    this.fingerprint = fingerprint;
    if (!existsSync(join(path, STATE))) return;
    if (!resume) throw new UsageError(`${path}: holds an unfinished refinement; continue it with --resume, or delete the folder`);
    this.saved = JSON.parse(storage(path, () => readFileSync(join(path, STATE), "utf8")));
    checkFingerprint(path, (this.saved as Saved).fingerprint, fingerprint);
  }

  get position(): Position | undefined {
    return this.saved?.position;
  }

  /** The tensors of the last save. @throws FormatError when the file is damaged. */
  open(): SafetensorsFile {
    return new SafetensorsFile(join(this.path, (this.saved as Saved).file));
  }

  save(position: Position, tensors: readonly SavedTensor[]): void {
    const file = `step-${position.step}.safetensors`;
    if (this.saved?.file === file) return;
    storage(this.path, () => mkdirSync(this.path, { recursive: true }));
    const layout = tensors.map(({ name, shape, dtype }) => ({ name, shape, dtype: dtype as WrittenDType }));
    const writer = SafetensorsWriter.create(this.path, { tensors: layout, file });
    for (const { name, read } of tensors) scope(() => writer.write(name, read()));
    writer.finish();
    const before = this.saved?.file;
    this.saved = { fingerprint: this.fingerprint, position: { ...position }, file };
    storage(this.path, () => {
      writeFileSync(join(this.path, `${STATE}.partial`), JSON.stringify(this.saved), { flush: true });
      renameSync(join(this.path, `${STATE}.partial`), join(this.path, STATE));
      if (before !== undefined) rmSync(join(this.path, before), { force: true });
    });
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
