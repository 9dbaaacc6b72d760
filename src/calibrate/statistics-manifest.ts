/** `statistics.json`: of which model and texts stored statistics are, and what their files hash to. */
import { FormatError, UsageError } from "../errors.ts";
import { isObject, type JsonObject } from "../json-object.ts";

export const STATISTICS_FORMAT = "rankfold-statistics-1";

/** One text that was summed. */
export interface CalibrationText {
  /** The file's name, without its folder. */
  readonly text: string;
  /** SHA-256 of the text. */
  readonly sha256: string;
  /** Windows of it that were summed. */
  readonly samples: number;
}

export interface StoredFile {
  readonly file: string;
  readonly sha256: string;
}

export interface StatisticsManifest {
  readonly format: typeof STATISTICS_FORMAT;
  /** Version of rankfold that made it. */
  readonly version: string;
  readonly model: { readonly name: string; readonly fingerprint: string };
  readonly texts: readonly CalibrationText[];
  /** Tokens a window. */
  readonly window: number;
  readonly tokens: number;
  /** Windows of random tokens summed beside the texts'; none in older folders. */
  readonly randomWindows?: number;
  /** A few windows of token ids, for allocators that measure what a replacement does to the predictions. */
  readonly probes?: readonly (readonly number[])[];
  /** By block. */
  readonly files: readonly StoredFile[];
  /** By block; absent where gradients were not asked for. */
  readonly gradients?: readonly StoredFile[];
}

/** @throws FormatError naming the first key that is missing or wrong. */
export function parseManifest(file: string, json: JsonObject): StatisticsManifest {
  const check = (key: string, holds: boolean, expected: string) => {
    if (!holds) throw new FormatError(file, `${key}: expected ${expected}, got ${JSON.stringify(json[key])?.slice(0, 100)}`);
  };
  check("format", json.format === STATISTICS_FORMAT, `"${STATISTICS_FORMAT}"; make it with this version of rankfold`);
  check("version", typeof json.version === "string", "a string");
  check("model", hasStrings(json.model, ["name", "fingerprint"]), "a name and a fingerprint");
  check(
    "texts",
    isListOf(json.texts, (item) => hasStrings(item, ["text", "sha256"]) && isCount(item.samples)),
    "texts",
  );
  check("window", isCount(json.window), "a whole number");
  check("tokens", isCount(json.tokens), "a whole number");
  const { randomWindows = 0 } = json;
  check("randomWindows", randomWindows === 0 || isCount(randomWindows), "a whole number");
  check("files", isListOf(json.files, isFile), "plain file names with their SHA-256");
  check("gradients", json.gradients === undefined || isListOf(json.gradients, isFile), "plain file names with their SHA-256");
  return json as unknown as StatisticsManifest;
}

/** The manifest of summed statistics, still with the first one's files. @throws UsageError when the two do not belong together. */
export function mergeManifests(a: StatisticsManifest, b: StatisticsManifest): StatisticsManifest {
  if (a.model.fingerprint !== b.model.fingerprint)
    throw new UsageError(`merge: expected statistics of one model, got ${a.model.name} and ${b.model.name} with other weights`);
  if (a.window !== b.window)
    throw new UsageError(`merge: expected windows of one length, got ${a.window} and ${b.window} tokens; calibrate one again`);
  const twice = b.texts.find(({ sha256 }) => a.texts.some((text) => text.sha256 === sha256));
  if (twice) throw new UsageError(`merge: ${twice.text} is in both statistics and would count twice; leave one out`);
  const [having, lacking] = a.gradients ? [a, b] : [b, a];
  if (having.gradients && !lacking.gradients)
    throw new UsageError(`merge: ${described(having)} hold gradients and ${described(lacking)} none; calibrate both alike`);
  const randomWindows = (a.randomWindows ?? 0) + (b.randomWindows ?? 0);
  return { ...a, texts: [...a.texts, ...b.texts], tokens: a.tokens + b.tokens, randomWindows };
}

const described = ({ texts }: StatisticsManifest) => `the statistics of ${texts.map(({ text }) => text).join(", ")}`;

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;

function hasStrings(value: unknown, keys: readonly string[]): value is JsonObject {
  return isObject(value) && keys.every((key) => typeof value[key] === "string");
}

function isListOf(value: unknown, holds: (item: JsonObject) => boolean): boolean {
  return Array.isArray(value) && value.length > 0 && value.every((item) => isObject(item) && holds(item));
}

/** A name with a separator could lead out of the folder. */
function isFile(item: JsonObject): boolean {
  return hasStrings(item, ["file", "sha256"]) && /^[\w-]+\.safetensors$/.test(item.file as string);
}
