/** `open`: models made ready for the playground, as ONNX folders; what is none is exported into a scratch folder. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { z } from "zod";
import { FormatError } from "../errors.ts";
import { parseHubId } from "../formats/hub-access.ts";
import { HubCache, isCommit } from "../formats/hub-cache.ts";
import { loadModel, type Model } from "../models/load.ts";
import { exportOnnx, ONNX_FOLDER, onnxFile } from "./export-onnx.ts";
import { ONNX_DTYPES, type OnnxDType } from "./export-options.ts";
import type { Job } from "./job.ts";
import { readManifest } from "./manifest.ts";
import type { openOptions } from "./open-options.ts";
import { writeFolder } from "./output-folder.ts";
import type { PlaygroundModel } from "./results.ts";

type Options = z.output<typeof openOptions>;

/** Up to so many parameters a browser runs a model in f32, the reference; larger ones in 8 bits. */
const FLOAT_PARAMETERS = 50e6;
/** Where the embedded model lies. */
const ASSETS = fileURLToPath(new URL("../../assets", import.meta.url));

/** The models in the order in which the page shows them: what OUT is held against first. */
export async function open({ out, against: given, dtype, scratch }: Options, job: Job): Promise<PlaygroundModel[]> {
  const against = given ?? originalOf(out);
  if (against !== given) job.note(`against ${against}, which rankfold.json names`);
  const model = await prepare(out, { dtype, scratch: join(scratch, "out") }, job);
  if (against === undefined) return [model];
  return [await prepare(against, { dtype: model.dtype, scratch: join(scratch, "against") }, job), model];
}

interface Wish {
  readonly dtype: OnnxDType | undefined;
  /** A folder to export to, where that is needed. */
  readonly scratch: string;
}

async function prepare(path: string, { dtype, scratch }: Wish, job: Job): Promise<PlaygroundModel> {
  if (existsSync(join(path, ONNX_FOLDER)))
    return describe(path, chosenDtype(path, dtype), { name: nameOf(path), parameters: null });
  const model = await loadModel(path, job);
  const chosen = dtype ?? (model.parameters > FLOAT_PARAMETERS ? "q8" : "fp32");
  await writeFolder(scratch, (folder) => exportOnnx(model, folder, { dtypes: [chosen], verify: false }, job));
  model.checkpoint.close();
  return describe(scratch, chosen, { name: nameOf(model.source), parameters: model.parameters, made: madeBy(model) });
}

/** The dtype asked for; else f32 where the file is small, 8 bits where there are, or the first there is. */
function chosenDtype(path: string, wanted: OnnxDType | undefined): OnnxDType {
  const present = ONNX_DTYPES.filter((dtype) => existsSync(join(path, ONNX_FOLDER, onnxFile(dtype))));
  const isSmall = present.includes("fp32") && bytesOf(path, filesOf(path, "fp32")) <= 4 * FLOAT_PARAMETERS;
  const chosen = wanted ?? (isSmall ? "fp32" : (present.find((dtype) => dtype === "q8") ?? present[0]));
  if (chosen !== undefined && present.includes(chosen)) return chosen;
  const expected = onnxFile(chosen ?? "fp32");
  const found = present.length > 0 ? present.join(", ") : "none that rankfold export writes";
  throw new FormatError(
    join(path, ONNX_FOLDER),
    `expected ${expected}, found ${found}; export it with --dtype ${chosen ?? "fp32"}`,
  );
}

type Known = Pick<PlaygroundModel, "name" | "parameters"> & { readonly made?: string };

function describe(folder: string, dtype: OnnxDType, { name, parameters, made }: Known): PlaygroundModel {
  const [graph, ...data] = filesOf(folder, dtype);
  const bytes = bytesOf(folder, [graph as string, ...data]);
  return { name, made: made ?? null, dtype, parameters, bytes, folder: resolve(folder), graph: graph as string, data };
}

/** The graph, then its data. */
function filesOf(folder: string, dtype: OnnxDType): string[] {
  const graph = onnxFile(dtype);
  const data = readdirSync(join(folder, ONNX_FOLDER)).filter((name) => name.startsWith(`${graph}_data`));
  return [graph, ...data.sort()].map((name) => `${ONNX_FOLDER}/${name}`);
}

const bytesOf = (folder: string, files: readonly string[]) =>
  files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);

/** What people call it: the last part of a path, owner and name on the hub. */
const nameOf = (source: string) => (existsSync(source) ? basename(resolve(source)) : source.replace(/@.*$/, ""));

/** `nsvd-i, keep 0.8`. */
function madeBy(model: Model): string {
  const manifest = readManifest(model.path);
  return manifest ? `${manifest.method}, keep ${manifest.keep}` : "dense";
}

/** The model that a compressed folder was made from, where it is found: beside it, here, embedded or in the hub's cache. */
function originalOf(out: string): string | undefined {
  const name = existsSync(out) ? readManifest(out)?.model : undefined;
  if (name === undefined) return undefined;
  const [repo = "", commit = ""] = name.split("@");
  if (parseHubId(name) && isCommit(commit)) return existsSync(new HubCache(repo).snapshot(commit)) ? name : undefined;
  const places = [dirname(resolve(out)), process.cwd(), ASSETS].map((folder) => join(folder, basename(name)));
  return places.find((place) => existsSync(place) && place !== resolve(out));
}
