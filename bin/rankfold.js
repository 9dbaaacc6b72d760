#!/usr/bin/env node
import { existsSync } from "node:fs";

const program = new URL("../dist/cli/main.js", import.meta.url);

if (existsSync(program)) {
  const { main } = await import(program.href);
  process.exitCode = await main(process.argv.slice(2));
} else {
  console.error("rankfold is not built yet: run `npm run build` in its folder (it needs Rust, see the README)");
  process.exitCode = 1;
}
