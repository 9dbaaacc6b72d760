/** `rankfold open`: a page on which a model, and another to hold it against, write in the browser. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { ONNX_DTYPES } from "../pipeline/export-options.ts";
import { type OpenOptions, openOptions } from "../pipeline/open-options.ts";
import { parseOptions } from "../pipeline/options.ts";
import type { PlaygroundModel } from "../pipeline/results.ts";
import { servePlayground } from "../pipeline/serve.ts";
import { renderTable, right } from "../report/table.ts";
import { formatBytes, formatCount } from "../report/units.ts";
import { addOptions, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";
import { wholeNumber } from "./values.ts";

type Flags = Omit<OpenOptions, "out" | "scratch"> & OutputOptions & { readonly port: number };

const OPEN = [
  new Option(
    "--against <model>",
    "a second model to write beside it (default: the one that OUT was made from, where it is found)",
  ),
  new Option("--dtype <type>", "what to run (default: fp32 up to 50 M parameters, else q8)").choices([...ONNX_DTYPES]),
  new Option("--port <n>", "the port to listen on; 0 takes a free one").argParser(wholeNumber(0, 65_535)).default(0),
];

export function addOpen(program: Command): void {
  const command = program.command("open").description("watch a model write in the browser, beside the one it was made from");
  command.argument("<out>", "what rankfold compress or export --to onnx wrote, or any model");
  addOptions(command, ...OPEN, THREADS).action(openPlayground);
}

/** Serves until Ctrl-C. */
async function openPlayground(out: string, { json, quiet, port, ...rest }: Flags): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), "rankfold-open-"));
  try {
    const models = await runWatched("open", parseOptions(openOptions, { out, scratch, ...rest }), { json, quiet });
    const { url, close } = await servePlayground(models, port);
    print({ url, models }, { json }, renderOpen);
    await interrupted();
    await close();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const COLUMNS = [{ title: "model" }, { title: "made by" }, { title: "dtype" }, right("parameters"), right("size")];

export function renderOpen({ url, models }: { url: string; models: readonly PlaygroundModel[] }): string {
  const rows = models.map(({ name, made, dtype, parameters, bytes }) => [
    ...[name, made ?? "-", dtype, parameters === null ? "-" : formatCount(parameters), formatBytes(bytes)],
  ]);
  return `${renderTable(COLUMNS, rows)}\nOpen ${url}\nOnly this computer can; Ctrl-C ends it.\n`;
}

function interrupted(): Promise<void> {
  return new Promise((done) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => done());
  });
}
