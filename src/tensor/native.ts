/** Loads the addon that `npm run build` makes from `native/`. Only this folder imports it. */
import { createRequire } from "node:module";
import type * as Binding from "../../native/binding.d.ts";
import { EngineError, NumericsError, StorageError } from "../errors.ts";

export type { AttentionOptions } from "../../native/binding.d.ts";

const ADDON = "../../native/rankfold.node";

function load(): typeof Binding {
  try {
    return createRequire(import.meta.url)(ADDON);
  } catch (cause) {
    throw new EngineError("the native engine is not built: run `npm run build` (it needs Rust, see the README)", { cause });
  }
}

export const native = load();

/** Runs one native operation; its failure becomes a typed error that names the operation. */
export function call<T>(operation: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    if (/os error|No space left|cut short/.test(text)) throw new StorageError(`${operation}: ${text}`, { cause });
    if (/NoConvergence/.test(text)) throw new NumericsError(`${operation} did not converge`, { cause });
    throw new EngineError(`${operation}: ${text}`, { cause });
  }
}
