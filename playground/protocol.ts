/** What the page and the worker of a model say to one another. */
import type { PlaygroundModel } from "../src/pipeline/results.ts";
import type { Position } from "./distributions.ts";

/** A model as the server lists it. */
export interface ListedModel extends Omit<PlaygroundModel, "folder"> {
  /** Tokenizer and config files that it brings. */
  readonly companions: readonly string[];
}

export interface LoadRequest {
  readonly model: ListedModel;
  /** Address of its folder, with a slash at the end. */
  readonly address: string;
  readonly threads: number;
}

export interface Loaded {
  /** Whether it brings a chat template. */
  readonly hasChat: boolean;
  readonly memoryBytes: number;
}

export interface WriteRequest {
  readonly prompt: string;
  readonly chat: boolean;
  /** At most so many. */
  readonly tokens: number;
  readonly temperature: number;
  readonly seed: number;
}

export interface Token {
  readonly id: number;
  readonly text: string;
}

export interface Written {
  readonly prompt: readonly Token[];
  readonly written: readonly Token[];
  readonly firstTokenSeconds: number;
  /** After the first token. */
  readonly tokensPerSecond: number;
  readonly memoryBytes: number;
}

/** The next tokens of a text; `isFirst` forgets what came before. */
export interface Piece {
  readonly tokens: readonly number[];
  readonly isFirst: boolean;
}

/** What a worker can be asked to do. */
export interface Calls {
  load(request: LoadRequest): Promise<Loaded>;
  write(request: WriteRequest): Promise<Written>;
  /** Logits after each token, t x v. */
  logits(piece: Piece): Promise<Float32Array<ArrayBuffer>>;
  /** How this model's predictions differ from another's, given as logits of the same tokens. */
  compare(piece: Piece, reference: Float32Array): Promise<Position[]>;
  /** Ends writing after the token at hand. */
  stop(): Promise<void>;
}

export type CallName = keyof Calls;

/** What a worker tells without being asked. */
export type WorkerEvent =
  | { readonly event: "loading"; readonly bytes: number }
  | { readonly event: "text"; readonly text: string; readonly tokens: number; readonly tokensPerSecond: number };

export interface CallMessage {
  readonly id: number;
  readonly call: CallName;
  readonly args: readonly unknown[];
}

export type ReplyMessage = { readonly id: number } & ({ readonly result: unknown } | { readonly error: string });
