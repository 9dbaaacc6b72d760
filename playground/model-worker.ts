/** One model in a worker of its own, so that the page answers while it computes. */

import type { OnnxDecoder } from "../src/evaluate/onnx-decoder.ts";
import { sampler } from "../src/evaluate/sample.ts";
import type { JsonObject } from "../src/json-object.ts";
import { renderChat } from "../src/tokenizer/chat.ts";
import { TextStream } from "../src/tokenizer/text-stream.ts";
import { endIds, Tokenizer } from "../src/tokenizer/tokenizer.ts";
import { comparePosition } from "./distributions.ts";
import type { CallMessage, Calls, LoadRequest, Piece, Token, WorkerEvent, WriteRequest, Written } from "./protocol.ts";
import { fetchWhole, memoryBytes, openDecoder } from "./runtime.ts";

let tokenizer: Tokenizer;
let decoder: OnnxDecoder;
let isStopped = false;

const tell = (event: WorkerEvent) => postMessage(event);

const calls: Calls = {
  async load(request) {
    tokenizer = await readTokenizer(request);
    let bytes = 0;
    decoder = await openDecoder(request, (more) => {
      bytes += more;
      tell({ event: "loading", bytes });
    });
    return { hasChat: tokenizer.chatTemplate !== undefined, memoryBytes: memoryBytes() };
  },
  write,
  async logits(piece) {
    return (await read(piece)) as Float32Array<ArrayBuffer>;
  },
  async compare(piece, reference) {
    const own = await read(piece);
    const vocabulary = own.length / piece.tokens.length;
    const row = (logits: Float32Array, i: number) => logits.subarray(i * vocabulary, (i + 1) * vocabulary);
    return piece.tokens.map((_, i) => comparePosition(row(reference, i), row(own, i), textOf));
  },
  async stop() {
    isStopped = true;
  },
};

const textOf = (id: number) => tokenizer.decode([id]);

/** As src/tokenizer/read-tokenizer.ts does from a folder. */
async function readTokenizer({ model, address }: LoadRequest): Promise<Tokenizer> {
  const has = (name: string) => model.companions.includes(name);
  const json = async (name: string): Promise<JsonObject> => (has(name) ? (await fetchWhole(address + name)).json() : {});
  const template = has("chat_template.jinja")
    ? { chat_template: await (await fetchWhole(`${address}chat_template.jinja`)).text() }
    : {};
  const config = { ...(await json("tokenizer_config.json")), ...template };
  const ends = [await json("generation_config.json"), await json("config.json")].flatMap(endIds);
  return Tokenizer.fromJson(await json("tokenizer.json"), config, ends);
}

function read({ tokens, isFirst }: Piece): Promise<Float32Array> {
  if (isFirst) decoder.restart();
  return decoder.advance(tokens);
}

async function write(request: WriteRequest): Promise<Written> {
  isStopped = false;
  const prompt = promptTokens(request);
  const sample = sampler(request);
  const stream = new TextStream(tokenizer);
  const start = performance.now();
  let next = sample(lastRow(await read({ tokens: prompt, isFirst: true }), prompt.length));
  const first = performance.now();
  const speed = () => (stream.ids.length - 1) / ((performance.now() - first) / 1000);
  while (stream.ids.length < request.tokens && !tokenizer.eosIds.has(next) && !isStopped) {
    const text = stream.add(next);
    tell({ event: "text", text, tokens: stream.ids.length, tokensPerSecond: speed() });
    await messages();
    if (stream.ids.length < request.tokens) next = sample(await read({ tokens: [next], isFirst: false }));
  }
  const firstTokenSeconds = (first - start) / 1000;
  return {
    prompt: prompt.map(named),
    written: stream.ids.map(named),
    firstTokenSeconds,
    tokensPerSecond: speed(),
    memoryBytes: memoryBytes(),
  };
}

const named = (id: number): Token => ({ id, text: textOf(id) });

function promptTokens({ prompt, chat }: WriteRequest): number[] {
  return [...tokenizer.encode(chat ? renderChat(tokenizer, [{ role: "user", content: prompt }]) : prompt)];
}

const lastRow = (logits: Float32Array, rows: number) => logits.subarray((rows - 1) * (logits.length / rows));

/** Lets what was posted to this worker come in: `stop`, above all. WebAssembly computes without a pause. */
function messages(): Promise<void> {
  return new Promise((resume) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resume();
    };
    port2.postMessage(null);
  });
}

async function answer({ data: { id, call, args } }: MessageEvent<CallMessage>): Promise<void> {
  try {
    const result = await (calls[call] as (...args: readonly unknown[]) => Promise<unknown>)(...args);
    postMessage({ id, result }, { transfer: result instanceof Float32Array ? [result.buffer] : [] });
  } catch (error) {
    postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

addEventListener("message", (message: MessageEvent<CallMessage>) => void answer(message));
