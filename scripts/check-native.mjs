/**
 * Checks the native engine: format, clippy without a warning, unit tests. It names the target that `scripts/build.mjs`
 * builds for and its release profile, so that the dependencies are compiled once for both.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const CRATE = fileURLToPath(new URL("../native", import.meta.url));

function run(program, args) {
  const { status, error } = spawnSync(program, args, { cwd: CRATE, stdio: "inherit" });
  if (error === undefined && status === 0) return;
  console.error(`check-native: ${program} ${args.join(" ")} failed${error ? ` (${error.message})` : ""}`);
  process.exit(1);
}

const version = spawnSync("rustc", ["-vV"], { encoding: "utf8" }).stdout ?? "";
const host = /^host: (\S+)$/m.exec(version)?.[1];
const target = host ? ["--target", host] : [];

run("cargo", ["fmt", "--check"]);
run("cargo", ["clippy", "--release", ...target, "--", "-D", "warnings"]);
run("cargo", ["test", "--release", ...target]);
