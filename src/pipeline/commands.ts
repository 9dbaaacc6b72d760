/** What the worker can be asked to do, by name. */
import { calibrate } from "./calibrate.ts";
import { compressRefined } from "./compress-refined.ts";
import { evaluate } from "./evaluate.ts";
import { exportModel } from "./export.ts";
import { generate } from "./generate.ts";
import { inspect } from "./inspect.ts";
import { mergeStatistics } from "./merge-statistics.ts";
import { open } from "./open.ts";
import { push } from "./push.ts";
import { refine } from "./refine.ts";
import { sweep } from "./sweep.ts";

export const commands = {
  inspect,
  compress: compressRefined,
  evaluate,
  generate,
  export: exportModel,
  calibrate,
  mergeStatistics,
  sweep,
  push,
  open,
  refine,
};

export type Commands = typeof commands;
export type CommandName = keyof Commands;
/** Options with the defaults filled in. */
export type OptionsOf<C extends CommandName> = Parameters<Commands[C]>[0];
export type ResultOf<C extends CommandName> = Awaited<ReturnType<Commands[C]>>;
