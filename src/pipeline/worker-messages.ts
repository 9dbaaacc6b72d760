/** What the main thread and the worker tell one another; errors cross as plain data and are typed again on arrival. */
import * as family from "../errors.ts";
import type { CommandName } from "./commands.ts";
import type { Progress } from "./job.ts";

export interface WorkerRequest {
  readonly command: CommandName;
  readonly options: unknown;
  /** One Int32; not 0 once the user has asked to stop. */
  readonly interrupt: SharedArrayBuffer;
}

export type WorkerMessage =
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "note"; readonly text: string }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "error"; readonly error: PlainError };

export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

export function toPlainError(thrown: unknown): PlainError {
  if (!(thrown instanceof Error)) return { name: "Error", message: String(thrown), stack: undefined, fields: {} };
  const fields = Object.entries(thrown).filter(([key, value]) => key !== "name" && isPrimitive(value));
  return { name: thrown.name, message: thrown.message, stack: thrown.stack, fields: Object.fromEntries(fields) };
}

/** The error as it was thrown: of the family's class by its name, else a plain Error (a defect of rankfold's own). */
export function fromPlainError({ name, message, stack, fields }: PlainError): Error {
  const error = Object.assign(new Error(message), fields, { name });
  if (stack !== undefined) error.stack = stack;
  const errorClass = new Map<string, { prototype: object }>(Object.entries(family)).get(name);
  return errorClass ? Object.setPrototypeOf(error, errorClass.prototype) : error;
}

const isPrimitive = (value: unknown) => ["string", "number", "boolean"].includes(typeof value);
