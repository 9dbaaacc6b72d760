/** `rankfold export`: the model in a format of other programs. */
import { type Command, Option } from "commander";
import { DENSE_DTYPES, type ExportOptions, exportOptions, ONNX_DTYPES } from "../pipeline/export-options.ts";
import type { ExportedModel, ExportResult } from "../pipeline/export-results.ts";
import { parseOptions } from "../pipeline/options.ts";
import { renderFacts, renderTable, right } from "../report/table.ts";
import { formatBytes, formatSeconds } from "../report/units.ts";
import { addOptions, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";

type Flags = Omit<ExportOptions, "model"> & OutputOptions;

const EXPORT = [
  new Option("--to <format>", "onnx: a folder for transformers.js and onnxruntime; dense: one matrix a projection again")
    .choices(["onnx", "dense"])
    .makeOptionMandatory(),
  new Option("-o, --out <folder>", "the folder to write; must not exist or be empty").makeOptionMandatory(),
  new Option(
    "--dtype <types>",
    `onnx: ${ONNX_DTYPES.join(",")} (default: all); dense: one of ${DENSE_DTYPES.join(", ")} (default: the model's own)`,
  ).argParser((text) => text.split(",")),
  new Option("--no-verify", "do not run what was written to compare its logits with the model's"),
];

export function addExport(program: Command): void {
  const command = program.command("export").description("write a model, dense or compressed, for other programs");
  addOptions(command.argument("<model>", MODEL), ...EXPORT, THREADS).action(async (model: string, flags: Flags) => {
    const { json, quiet, ...rest } = flags;
    const options = parseOptions(exportOptions, { model, ...rest });
    print(await runWatched("export", options, { json, quiet }), { json, quiet }, renderExport);
  });
}

const COLUMNS = ["size", "padding", "seconds", "logits off", "with cache", "divergence"].map(right);

export function renderExport(result: ExportResult): string {
  const facts = renderFacts([
    ["written", result.out],
    ["size", formatBytes(result.models.reduce((sum, { bytes }) => sum + bytes, 0))],
    ["time", formatSeconds(result.seconds)],
    ["peak memory", formatBytes(result.peakRssBytes)],
  ]);
  return `${renderTable([{ title: "dtype" }, { title: "file" }, ...COLUMNS], result.models.map(row))}\n${facts}`;
}

function row({ dtype, files, bytes, paddingBytes, seconds, check }: ExportedModel): string[] {
  const padding = paddingBytes > 0 ? formatBytes(paddingBytes) : "-";
  const differences = [check?.prompt, check?.cached, check?.divergence];
  return [dtype, files[0] ?? "", formatBytes(bytes), padding, seconds.toFixed(1), ...differences.map(small)];
}

const small = (value: number | null | undefined): string => value?.toExponential(1) ?? "-";
