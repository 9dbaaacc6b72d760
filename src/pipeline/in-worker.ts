/** Runs a command in a worker thread, so that the main thread stays free to draw progress and to hear Ctrl-C. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { EngineError, MemoryError } from "../errors.ts";
import type { CommandName, OptionsOf, ResultOf } from "./commands.ts";
import type { Job } from "./job.ts";
import { fromPlainError, type WorkerMessage, type WorkerRequest } from "./worker-messages.ts";

export interface Watcher {
  readonly onProgress?: Job["progress"];
  readonly onNote?: Job["note"];
  readonly onText?: Job["text"];
  /** Aborting it ends the run with InterruptedError at its next checkpoint. */
  readonly signal?: AbortSignal;
}

/** Of short-lived objects: tokenising a text makes millions, and memory that V8 takes for them it is slow to give back. */
const YOUNG_GENERATION_MB = 12;

/** Workers cannot run TypeScript on Node 20, so from the sources (tests) the compiled worker is used. */
const WORKER = new URL(import.meta.url.endsWith(".ts") ? "../../dist/pipeline/worker.js" : "./worker.js", import.meta.url);

export async function runInWorker<C extends CommandName>(
  command: C,
  options: OptionsOf<C>,
  watcher: Watcher = {},
): Promise<ResultOf<C>> {
  setThreads((options as { threads?: number | undefined }).threads);
  const interrupt = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const stop = () => Atomics.store(new Int32Array(interrupt), 0, 1);
  if (watcher.signal?.aborted) stop();
  watcher.signal?.addEventListener("abort", stop);
  const worker = new Worker(WORKER, {
    workerData: { command, options, interrupt } satisfies WorkerRequest,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  try {
    return (await outcome(worker, watcher)) as ResultOf<C>;
  } finally {
    watcher.signal?.removeEventListener("abort", stop);
    await worker.terminate();
  }
}

/** The engine reads the variable when it starts its threads, which it does once in a process. */
function setThreads(threads: number | undefined): void {
  if (threads !== undefined) process.env.RAYON_NUM_THREADS = String(threads);
  else process.env.RAYON_NUM_THREADS ??= String(availableParallelism());
}

function outcome(worker: Worker, { onProgress, onNote, onText }: Watcher): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.on("message", (message: WorkerMessage) => {
      if (message.kind === "progress") onProgress?.(message.progress);
      else if (message.kind === "note") onNote?.(message.text);
      else if (message.kind === "text") onText?.(message.text);
      else if (message.kind === "result") resolve(message.result);
      else reject(fromPlainError(message.error));
    });
    worker.on("error", (cause) => reject(failure(cause)));
    worker.on("exit", (code) => reject(new EngineError(`the computation ended without a result (exit code ${code})`)));
  });
}

function failure(cause: Error & { code?: string }): Error {
  if (cause.code === "ERR_WORKER_OUT_OF_MEMORY")
    return new MemoryError("the computation ran out of JavaScript memory", { cause });
  return new EngineError(`the worker thread failed: ${cause.message}`, { cause });
}
