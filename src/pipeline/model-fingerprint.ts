/**
 * What tells two models apart wherever they lie: interrupted runs, stored statistics and sweeps belong to one. A few megabytes
 * of every weight file are read, however large it is.
 */
import { createHash } from "node:crypto";
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { storage } from "../formats/storage.ts";
import type { Model } from "../models/load.ts";

/** Pieces of each weight file that are hashed, evenly spread: any training step changes nearly every weight. */
const PIECES = 64;
const PIECE_BYTES = 65_536;

/** SHA-256 over the config, the tensors' names and shapes, and samples of the weights; not over paths or times. */
export function modelFingerprint(model: Model): string {
  const hash = createHash("sha256").update(JSON.stringify([model.configJson, [...model.checkpoint.tensors]]));
  for (const file of weightFiles(model.path)) for (const piece of samples(file)) hash.update(piece);
  return hash.digest("hex");
}

/** The files that hold a model's weights, in order. */
function weightFiles(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  const names = storage(path, () => readdirSync(path)).filter((name) => name.endsWith(".safetensors"));
  return names.sort().map((name) => join(path, name));
}

function samples(path: string): Buffer[] {
  return storage(path, () => {
    const { size } = statSync(path);
    const file = openSync(path, "r");
    try {
      return Array.from({ length: PIECES }, (_, i) => {
        const piece = Buffer.alloc(PIECE_BYTES);
        const start = Math.floor((i * Math.max(0, size - PIECE_BYTES)) / (PIECES - 1));
        return piece.subarray(0, readSync(file, piece, 0, PIECE_BYTES, start));
      });
    } finally {
      closeSync(file);
    }
  });
}
