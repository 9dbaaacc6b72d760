/**
 * Where activations wait for their turn between blocks: in memory, or in a file where memory is short. The values are the
 * same in both, so that what a run computes does not depend on it.
 */
import { rmSync, writeFileSync } from "node:fs";
import { storage } from "../formats/storage.ts";
import { keep, MappedFile, type Tensor, writeTensor } from "../tensor/index.ts";

/** A tensor that waits. */
export interface Held {
  /** The tensor, not to be disposed; one that comes from a file belongs to the caller's scope. */
  read(): Tensor;
  /** Replaces it by another of its shape and dtype. */
  set(x: Tensor): void;
  dispose(): void;
}

export interface Holder {
  hold(x: Tensor): Held;
  /** Gives back what all held tensors take. */
  close(): void;
}

export const inMemory: Holder = {
  hold(x) {
    let held = keep(x);
    return {
      read: () => held,
      set(next) {
        if (next !== held) held.dispose();
        held = keep(next);
      },
      dispose: () => held.dispose(),
    };
  },
  close() {},
};

/** @param file made where activations wait on the disk. */
export function holderFor(activations: "memory" | "disk", file: string): Holder {
  return activations === "memory" ? inMemory : new SpillFile(file);
}

/** A scratch file; tensors lie one after the other, and the place of a disposed one serves the next of its size. */
export class SpillFile implements Holder {
  /** Offsets of places that are free, by their length. */
  private readonly free = new Map<number, number[]>();
  private end = 0;

  /** @throws StorageError where the file cannot be made. An older file is emptied. */
  constructor(private readonly path: string) {
    storage(path, () => writeFileSync(path, ""));
  }

  hold(x: Tensor): Held {
    const { dtype, shape, bytes: length } = x;
    const offset = this.place(length);
    writeTensor(x, this.path, offset);
    return {
      read: () => this.read({ offset, length, shape, format: dtype as "f32" }),
      set: (next) => writeTensor(next, this.path, offset),
      dispose: () => void this.freeOf(length).push(offset),
    };
  }

  private place(length: number): number {
    const offset = this.freeOf(length).pop() ?? this.end;
    this.end = Math.max(this.end, offset + length);
    return offset;
  }

  private freeOf(length: number): number[] {
    const offsets = this.free.get(length) ?? [];
    this.free.set(length, offsets);
    return offsets;
  }

  private read(stored: Parameters<MappedFile["read"]>[0]): Tensor {
    const file = new MappedFile(this.path);
    try {
      return file.read(stored);
    } finally {
      file.close();
    }
  }

  close(): void {
    rmSync(this.path, { force: true });
  }
}
