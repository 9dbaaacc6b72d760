/**
 * Builds what changed: the native engine (cargo, release), then the TypeScript sources into dist/, then the playground's page
 * (Vite) into dist/playground.
 * A build with nothing to do only hashes the sources, so every command may call it first.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const NATIVE_SOURCES = ["native/src", "native/Cargo.toml", "native/Cargo.lock", "native/build.rs"];
const TYPESCRIPT_SOURCES = ["src", "tsconfig.json", "tsconfig.build.json", "native/binding.d.ts"];
/** The page shares modules with the command line: which ones, its bundler alone knows. */
const PAGE_SOURCES = ["playground", "assets/theme.css", "src"];
const resolvePackage = createRequire(import.meta.url).resolve;

/** Every file of a folder and its folders, relative to the root. */
function filesUnder(path) {
  const entries = existsSync(join(ROOT, path)) ? readdirSync(join(ROOT, path), { withFileTypes: true }) : [];
  return entries.flatMap((entry) => {
    const child = `${path}/${entry.name}`;
    return entry.isDirectory() ? filesUnder(child) : [child];
  });
}

/** One hash of names and contents: the same sources give the same stamp on every checkout. */
function stampOf(paths, ...tools) {
  const hash = createHash("sha256").update(tools.join("\n"));
  const files = paths.flatMap((path) => (/\.\w+$/.test(path) ? [path] : filesUnder(path)));
  for (const file of files.filter((name) => !name.endsWith(".test.ts")).sort())
    hash.update(`${file}\n`).update(readFileSync(join(ROOT, file)));
  return hash.digest("hex");
}

function isFresh(name, stamp) {
  const file = join(ROOT, "dist", `.${name}.stamp`);
  return existsSync(file) && readFileSync(file, "utf8") === stamp;
}

function writeStamp(name, stamp) {
  const file = join(ROOT, "dist", `.${name}.stamp`);
  mkdirSync(join(ROOT, "dist"), { recursive: true });
  writeFileSync(`${file}.${process.pid}`, stamp);
  renameSync(`${file}.${process.pid}`, file);
}

function fail(line) {
  console.error(line);
  process.exit(1);
}

/** Runs a program of node_modules, its output on stderr so that stdout stays with the command that follows the build. */
function runTool(what, script, args) {
  const { status, error } = spawnSync(process.execPath, [script, ...args], { cwd: ROOT, stdio: ["ignore", 2, 2] });
  if (error || status !== 0) fail(`build: ${what} failed${error ? ` (${error.message})` : ""}`);
}

function resolveTool(path) {
  try {
    return resolvePackage(path);
  } catch {
    return fail(
      `build: ${path
        .split("/")
        .slice(0, path.startsWith("@") ? 2 : 1)
        .join("/")} is missing: run \`npm ci\` first`,
    );
  }
}

function requireCargo() {
  if (spawnSync("cargo", ["--version"], { stdio: "ignore" }).status === 0) return;
  fail(
    "build: Rust is missing (no `cargo` on the PATH): install rustup from rustup.rs, run `rustup default stable`, open a new shell",
  );
}

function buildNative() {
  const stamp = stampOf(NATIVE_SOURCES, process.platform, process.arch);
  if (isFresh("native", stamp) && existsSync(join(ROOT, "native/rankfold.node"))) return;
  requireCargo();
  if (!existsSync(join(ROOT, "native/rankfold.node"))) {
    console.error("build: compiling the native engine; the first time takes a few minutes, once");
  }
  const cli = join(resolveTool("@napi-rs/cli/package.json"), "../dist/cli.js");
  const packageJson = ["--package-json-path", "../package.json"];
  runTool("the native engine", cli, ["build", "--release", "--cwd", "native", ...packageJson, "--dts", "binding.d.ts"]);
  writeStamp("native", stamp);
}

/** Removes what an earlier build made of sources that are gone. */
function pruneStale() {
  for (const file of filesUnder("dist").filter((name) => !name.startsWith("dist/playground/"))) {
    const source = file.replace(/^dist/, "src").replace(/(\.d\.ts|\.js|\.js\.map)$/, ".ts");
    if (source.endsWith(".ts") && !existsSync(join(ROOT, source))) rmSync(join(ROOT, file));
  }
}

function buildTypeScript() {
  const typescript = resolveTool("typescript/package.json");
  const stamp = stampOf(TYPESCRIPT_SOURCES, JSON.parse(readFileSync(typescript, "utf8")).version);
  const isComplete = existsSync(join(ROOT, "dist/cli/main.js"));
  if (isComplete && isFresh("typescript", stamp)) return;
  if (!isComplete) rmSync(join(ROOT, "dist/.tsbuildinfo"), { force: true }); // else tsc believes that all is written
  runTool("compiling TypeScript", join(typescript, "../bin/tsc"), ["-p", "tsconfig.build.json"]);
  pruneStale();
  writeStamp("typescript", stamp);
}

function buildPage() {
  const [vite, runtime] = ["vite/package.json", "onnxruntime-web/ort-wasm-simd-threaded.wasm"].map(resolveTool);
  const versions = [vite, join(runtime, "../../package.json")].map((file) => JSON.parse(readFileSync(file, "utf8")).version);
  const stamp = stampOf(PAGE_SOURCES, ...versions);
  if (existsSync(join(ROOT, "dist/playground/index.html")) && isFresh("playground", stamp)) return;
  runTool("the playground's page", join(vite, "../bin/vite.js"), ["build", "playground", "--logLevel", "warn"]);
  writeStamp("playground", stamp);
}

buildNative();
buildTypeScript();
buildPage();
