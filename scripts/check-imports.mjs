/**
 * Checks what the linter cannot: the direction of imports, the error family, the length of files.
 *
 *   cli -> pipeline -> { models, methods, allocate, calibrate, evaluate, refine, report } -> { tensor, formats, tokenizer } -> errors
 *
 * Files directly in src (errors.ts and small helpers) are the lowest layer; index.ts, the public API, stands above all.
 * Siblings meet through contract files alone; tests may import what they like.
 *
 * Usage: node scripts/check-imports.mjs [FOLDER with src/]
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const MAX_LINES = 500;
const LAYERS = [
  ["cli"],
  ["pipeline"],
  ["models", "methods", "allocate", "calibrate", "evaluate", "refine", "report"],
  ["tensor", "formats", "tokenizer"],
  ["root"],
];
/** What siblings may see of one another: never an architecture family, a method, a file format by name. */
const CONTRACTS = new Set([
  "models/descent.ts",
  "models/model.ts",
  "models/forward.ts",
  "models/load.ts",
  "models/streams.ts",
  "models/weights.ts",
  "methods/method.ts",
  "allocate/allocator.ts",
  "allocate/gain.ts",
  "formats/checkpoint.ts",
  "formats/json.ts",
  "formats/storage.ts",
  "tokenizer/read-tokenizer.ts",
  "tokenizer/tokenizer.ts",
  "tensor/index.ts",
]);

const root = process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url));

const groupOf = (file) => (file.includes("/") ? file.slice(0, file.indexOf("/")) : "root");
const layerOf = (file) => LAYERS.findIndex((groups) => groups.includes(groupOf(file)));

function sourceFiles(folder) {
  return readdirSync(join(root, "src", folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(path);
    return path.endsWith(".ts") ? [path] : [];
  });
}

/** The relative modules that a source names, as paths from src. */
function importsOf(file, text) {
  const named = text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)"(\.[^"]+)"/g);
  return [...named].map((match) => posix.normalize(posix.join(posix.dirname(file), match[1])));
}

function importProblem(file, target) {
  if (target.startsWith("..")) {
    return groupOf(file) === "tensor" ? undefined : `imports ${target}: only src/tensor may leave src, for native/`;
  }
  if (file === "index.ts" || groupOf(file) === groupOf(target)) return undefined;
  if (layerOf(target) < 0) return `imports ${target}, a folder without a layer: add it to LAYERS in scripts/check-imports.mjs`;
  if (groupOf(target) === "tensor" && target !== "tensor/index.ts") return `imports ${target}: import tensor/index.ts instead`;
  if (layerOf(target) < layerOf(file)) return `imports ${target}, a layer above it`;
  if (layerOf(target) === layerOf(file) && !CONTRACTS.has(target))
    return `imports its sibling ${target}, which is no contract file`;
  return undefined;
}

function problemsOf(file) {
  const text = readFileSync(join(root, "src", file), "utf8");
  const lines = text.split("\n").length - 1;
  const problems = lines > MAX_LINES ? [`has ${lines} lines, more than ${MAX_LINES}: split it`] : [];
  if (file.endsWith(".test.ts")) return problems;
  if (layerOf(file) < 0) problems.push("lies in a folder without a layer");
  if (/\bthrow new Error\(/.test(text)) problems.push("throws a bare Error: use the family in src/errors.ts");
  return [...problems, ...importsOf(file, text).map((target) => importProblem(file, target))].filter(Boolean);
}

const problems = sourceFiles("").flatMap((file) => problemsOf(file).map((problem) => `src/${file} ${problem}`));
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
