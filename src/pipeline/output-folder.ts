/** A folder that appears whole or not at all: it is written as `OUT.partial` and renamed. */
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, statSync } from "node:fs";
import { UsageError } from "../errors.ts";
import { storage } from "../formats/storage.ts";

/**
 * Runs `write` with the folder to fill; what it leaves when it throws is removed.
 * @throws UsageError when `out` is not absent or empty, or another run is writing it.
 */
export async function writeFolder<T>(out: string, write: (folder: string) => Promise<T>): Promise<T> {
  checkFree(out);
  const folder = `${out}.partial`;
  if (existsSync(folder))
    throw new UsageError(`${folder}: is left from a run that was killed, or belongs to one that runs; delete it`);
  storage(folder, () => mkdirSync(folder, { recursive: true }));
  try {
    const result = await write(folder);
    moveFolder(folder, out);
    return result;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** @throws UsageError unless the folder is absent or empty. */
export function checkFree(out: string): void {
  if (!existsSync(out)) return;
  if (statSync(out).isDirectory() && readdirSync(out).length === 0) return;
  throw new UsageError(`-o ${out}: exists and is not an empty folder; give one that does not exist or is empty`);
}

/** Moves a finished folder to `out`, which is absent or empty; from another disk by a copy beside it, renamed once it is whole. */
export function moveFolder(folder: string, out: string): void {
  storage(out, () => {
    if (existsSync(out)) rmdirSync(out);
    try {
      renameSync(folder, out);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
      moveBetweenDisks(folder, out);
    }
  });
}

function moveBetweenDisks(folder: string, out: string): void {
  const copy = `${out}.moving`;
  rmSync(copy, { recursive: true, force: true });
  try {
    cpSync(folder, copy, { recursive: true });
    renameSync(copy, out);
  } catch (error) {
    rmSync(copy, { recursive: true, force: true });
    throw error;
  }
  rmSync(folder, { recursive: true });
}
