/**
 * The cache that the hub's tools share, as they lay it out:
 * `models--owner--name/{blobs/<hash>, snapshots/<commit>/<file> -> blob, refs/<revision>}`.
 * A blob being fetched is `<hash>.incomplete`; it gets its name, and a snapshot its file, only when its hash is right.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { getHFHubCachePath, getRepoFolderName } from "@huggingface/hub";
import { FormatError } from "../errors.ts";
import { isObject } from "../json-object.ts";
import { readJson } from "./json.ts";
import { INDEX_FILE, SINGLE_FILE } from "./safetensors.ts";
import { storage } from "./storage.ts";

const PIECE_BYTES = 1 << 20;

export const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision);

export const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size;

export class HubCache {
  readonly folder: string;

  constructor(repo: string) {
    this.folder = join(getHFHubCachePath(), getRepoFolderName({ type: "model", name: repo }));
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  blob(hash: string): string {
    return join(this.folder, "blobs", hash);
  }

  /** The commit that a revision stood for when it was last fetched whole. */
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) return revision;
    const file = join(this.folder, "refs", revision);
    const commit = existsSync(file) ? storage(file, () => readFileSync(file, "utf8")).trim() : "";
    return isCommit(commit) ? commit : undefined;
  }

  saveRef(revision: string, commit: string): void {
    if (isCommit(revision)) return;
    const file = join(this.folder, "refs", revision);
    storage(file, () => {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, commit);
    });
  }

  /** A blob under its name in the snapshot; a copy where the system has no links. */
  link(hash: string, commit: string, name: string): void {
    const [blob, pointer] = [this.blob(hash), join(this.snapshot(commit), name)];
    storage(pointer, () => {
      mkdirSync(dirname(pointer), { recursive: true });
      rmSync(pointer, { force: true });
      try {
        symlinkSync(relative(dirname(pointer), blob), pointer);
      } catch {
        copyFileSync(blob, pointer);
      }
    });
  }

  /** Gives a fetched file its name. @throws FormatError, and forgets it, when its bytes are not those of the hash. */
  keep(repo: string, name: string, hash: string, checkpoint: () => void): void {
    const part = `${this.blob(hash)}.incomplete`;
    const got = hashOf(part, hash.length, checkpoint);
    if (got !== hash) {
      rmSync(part);
      throw new FormatError(`${repo}/${name}`, `expected bytes with the hash ${hash}, got ${got}; run the command again`);
    }
    storage(part, () => renameSync(part, this.blob(hash)));
  }
}

/** SHA-256 for files of LFS; else the hash that git gives a file. */
function hashOf(path: string, length: number, checkpoint: () => void): string {
  return storage(path, () => {
    const hash = length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${statSync(path).size}\0`);
    const [file, piece] = [openSync(path, "r"), Buffer.alloc(PIECE_BYTES)];
    try {
      for (let got = readSync(file, piece); got > 0; got = readSync(file, piece)) {
        checkpoint();
        hash.update(piece.subarray(0, got));
      }
    } finally {
      closeSync(file);
    }
    return hash.digest("hex");
  });
}

/** Whether a snapshot holds a model's config and all its weights; files come there whole or not at all. */
export function isComplete(snapshot: string): boolean {
  const has = (name: string) => existsSync(join(snapshot, name));
  if (!has("config.json")) return false;
  if (has(SINGLE_FILE)) return true;
  return has(INDEX_FILE) && shardNames(join(snapshot, INDEX_FILE)).every(has);
}

/** The shards that an index lists. @throws FormatError for names that could lead out of the folder. */
export function shardNames(index: string): string[] {
  const { weight_map: weights } = readJson(index);
  if (!isObject(weights)) throw new FormatError(index, "expected weight_map, an object of tensor names and files");
  return [...new Set(Object.values(weights))].map((name) => {
    if (typeof name === "string" && /^[^./\\:\0][^/\\:\0]*\.safetensors$/.test(name)) return name;
    throw new FormatError(
      index,
      `expected plain names of .safetensors files, got ${JSON.stringify(name)}; do not use this model`,
    );
  });
}
