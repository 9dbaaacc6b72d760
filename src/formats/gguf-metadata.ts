/** Typed access to the metadata of a GGUF file. */
import { FormatError } from "../errors.ts";
import type { GgufMetadata } from "./gguf-header.ts";

export class Metadata {
  readonly file: string;
  private readonly values: GgufMetadata;

  constructor(file: string, values: GgufMetadata) {
    this.file = file;
    this.values = values;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.values, key);
  }

  /** A number; an f32 of the file becomes the shortest decimal that gives the same f32 (1e-5, not 0.00000999999974). */
  number(key: string): number | undefined {
    const value = this.get(key, "a number", (v) => typeof v === "number" || typeof v === "bigint");
    if (value === undefined || typeof value === "bigint") return value === undefined ? undefined : Number(value);
    return shortestDecimal(value as number);
  }

  string(key: string): string | undefined {
    return this.get(key, "a string", (v) => typeof v === "string") as string | undefined;
  }

  boolean(key: string): boolean | undefined {
    return this.get(key, "true or false", (v) => typeof v === "boolean") as boolean | undefined;
  }

  strings(key: string): readonly string[] | undefined {
    return this.get(key, "strings", (v) => isArrayOf(v, "string")) as readonly string[] | undefined;
  }

  numbers(key: string): readonly number[] | undefined {
    return this.get(key, "numbers", (v) => isArrayOf(v, "number")) as readonly number[] | undefined;
  }

  /** A positive whole number that must be there. */
  count(key: string): number {
    const value = this.number(key);
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    throw new FormatError(
      this.file,
      `metadata ${key}: expected a positive whole number, got ${value ?? "none"}; convert the model again`,
    );
  }

  private get(key: string, expected: string, fits: (value: unknown) => boolean): unknown {
    const value = this.has(key) ? this.values[key] : undefined;
    if (value === undefined || fits(value)) return value;
    throw new FormatError(this.file, `metadata ${key}: expected ${expected}, got another value; convert the model again`);
  }
}

function isArrayOf(value: unknown, type: string): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === type);
}

function shortestDecimal(value: number): number {
  if (Math.fround(value) !== value || Number.isInteger(value)) return value;
  for (let digits = 6; digits <= 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}
