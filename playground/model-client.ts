/** A model that runs in a worker, as promises. */
import type { CallMessage, CallName, Calls, ReplyMessage, WorkerEvent } from "./protocol.ts";

type Result<C extends CallName> = Awaited<ReturnType<Calls[C]>>;

interface Waiting {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

export class ModelClient {
  /** Told what the worker tells without being asked. */
  onEvent: (event: WorkerEvent) => void = () => {};
  private readonly worker = new Worker(new URL("./model-worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private calls = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<ReplyMessage | WorkerEvent>) => this.receive(data);
    this.worker.onerror = ({ message }) => this.fail(message || "the worker could not be started");
  }

  call<C extends CallName>(call: C, ...args: Parameters<Calls[C]>): Promise<Result<C>> {
    const id = this.calls++;
    return new Promise<Result<C>>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, call, args } satisfies CallMessage);
    });
  }

  private receive(data: ReplyMessage | WorkerEvent): void {
    if ("event" in data) {
      this.onEvent(data);
      return;
    }
    const waiting = this.waiting.get(data.id);
    this.waiting.delete(data.id);
    if ("error" in data) waiting?.reject(new Error(data.error));
    else waiting?.resolve(data.result as never);
  }

  private fail(message: string): void {
    for (const { reject } of this.waiting.values()) reject(new Error(message));
    this.waiting.clear();
  }
}
