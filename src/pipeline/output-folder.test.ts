import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { StorageError } from "../errors.ts";
import { moveFolder } from "./output-folder.ts";

/** A file system in memory, where Linux has one. */
const OTHER_DISK = "/dev/shm";
const isOtherDisk = existsSync(OTHER_DISK) && statSync(OTHER_DISK).dev !== statSync(tmpdir()).dev;

const folders: string[] = [];
const folderIn = (parent: string) => {
  const folder = mkdtempSync(join(parent, "rankfold-move-"));
  folders.push(folder);
  return folder;
};
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function finishedFolder(parent: string): string {
  const folder = join(parent, "made");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), "{}");
  return folder;
}

test.each([tmpdir(), ...(isOtherDisk ? [OTHER_DISK] : [])])("moves a folder from %s to an empty one", (from) => {
  const made = finishedFolder(folderIn(from));
  const out = folderIn(tmpdir());
  moveFolder(made, out);
  expect(readFileSync(join(out, "config.json"), "utf8")).toBe("{}");
  expect([made, `${out}.moving`].map((folder) => existsSync(folder))).toEqual([false, false]);
});

test("where the folder cannot go, it stays where it was", () => {
  const made = finishedFolder(folderIn(tmpdir()));
  expect(() => moveFolder(made, join(folderIn(tmpdir()), "missing", "out"))).toThrow(StorageError);
  expect(existsSync(join(made, "config.json"))).toBe(true);
});
