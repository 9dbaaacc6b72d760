/** Entry of the worker thread: runs one command, and posts what it says to the main thread. */
import { parentPort, workerData } from "node:worker_threads";
import { InterruptedError } from "../errors.ts";
import type { Job } from "./job.ts";
import { toPlainError, type WorkerMessage, type WorkerRequest } from "./worker-messages.ts";

const { command, options, interrupt } = workerData as WorkerRequest;
const interrupted = new Int32Array(interrupt);

const post = (message: WorkerMessage) => parentPort?.postMessage(message);

const job: Job = {
  progress: (progress) => post({ kind: "progress", progress }),
  note: (text) => post({ kind: "note", text }),
  text: (text) => post({ kind: "text", text }),
  checkpoint() {
    if (Atomics.load(interrupted, 0) !== 0) throw new InterruptedError("interrupted");
  },
};

try {
  // Imported here and not above, so that an engine that does not load is reported like every other error.
  const { commands } = await import("./commands.ts");
  const run = commands[command] as (options: unknown, job: Job) => Promise<unknown>;
  post({ kind: "result", result: await run(options, job) });
} catch (thrown) {
  post({ kind: "error", error: toPlainError(thrown) });
}
