/** What every command does around its run: progress on stderr, Ctrl-C, the result on stdout. */
import type { CommandName, OptionsOf, ResultOf } from "../pipeline/commands.ts";
import { runInWorker } from "../pipeline/in-worker.ts";
import type { OutputOptions } from "./options.ts";
import { ProgressDisplay } from "./progress.ts";

export const INTERRUPTED = 130;

export interface RunOptions extends OutputOptions {
  /** Text as it is generated; by default nobody reads it. */
  readonly onText?: (piece: string) => void;
}

/** Runs a command in the worker thread. The first Ctrl-C stops it at its next checkpoint, the second at once. */
export async function runWatched<C extends CommandName>(
  command: C,
  options: OptionsOf<C>,
  { quiet, onText }: RunOptions,
): Promise<ResultOf<C>> {
  const display = new ProgressDisplay(process.stderr, quiet === true);
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    controller.abort();
    display.note("stopping at the next safe point; Ctrl-C again stops at once");
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, interrupt);
  try {
    return await runInWorker(command, options, {
      signal: controller.signal,
      onProgress: (progress) => display.progress(progress),
      onNote: (line) => display.note(line),
      onText: (piece) => {
        display.clear();
        onText?.(piece);
      },
    });
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, interrupt);
    display.clear();
  }
}

/** With --json the result as it is, else the text made of it. */
export function print<R>(result: R, { json }: OutputOptions, render: (result: R) => string): void {
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : render(result));
}
