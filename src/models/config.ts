/** Reads values of config.json, each checked where it is read. */
import { ConfigError } from "../errors.ts";

export type Json = Record<string, unknown>;

/** A number above zero; `fallback` when the key is absent or null. */
export function positive(json: Json, key: string, fallback?: number): number {
  const value = json[key] ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(key, `must be a number above 0, got ${JSON.stringify(value)}`);
}

/** A whole number above zero; `fallback` when the key is absent or null. */
export function positiveInt(json: Json, key: string, fallback?: number): number {
  const value = positive(json, key, fallback);
  if (Number.isSafeInteger(value)) return value;
  throw new ConfigError(key, `must be a whole number, got ${value}`);
}

export function boolean(json: Json, key: string, fallback: boolean): boolean {
  const value = json[key] ?? fallback;
  if (typeof value === "boolean") return value;
  throw new ConfigError(key, `must be true or false, got ${JSON.stringify(value)}`);
}

/** An object; empty when the key is absent or null. */
export function object(json: Json, key: string): Json {
  const value = json[key] ?? {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Json;
  throw new ConfigError(key, `must be an object, got ${JSON.stringify(value)}`);
}

/** A list of strings; empty when the key is absent or null. */
export function strings(json: Json, key: string): string[] {
  const value = json[key] ?? [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new ConfigError(key, `must be a list of strings, got ${JSON.stringify(value)}`);
}

/** A list of different whole numbers from zero. */
export function indices(json: Json, key: string): Uint32Array {
  const value = json[key];
  const valid =
    Array.isArray(value) && value.every((item) => Number.isInteger(item) && item >= 0) && new Set(value).size === value.length;
  if (valid) return Uint32Array.from(value);
  throw new ConfigError(key, `must be a list of different whole numbers, got ${JSON.stringify(value)}`);
}

/** A list of lists of different whole numbers from zero. */
export function indexLists(json: Json, key: string): Uint32Array[] {
  const value = json[key];
  if (Array.isArray(value)) return value.map((own, i) => indices({ [`${key}[${i}]`]: own }, `${key}[${i}]`));
  throw new ConfigError(key, `must be a list of lists of whole numbers, got ${JSON.stringify(value)}`);
}
