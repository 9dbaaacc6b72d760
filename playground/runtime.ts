/** onnxruntime-web on the processor: its WebAssembly lies beside the page; models are fetched with progress. */

import mjs from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import { OnnxDecoder } from "../src/evaluate/onnx-decoder.ts";
import type { LoadRequest } from "./protocol.ts";

/** Every memory that WebAssembly makes in this worker; onnxruntime does not tell how much it takes. */
const memories: WebAssembly.Memory[] = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memories.push(this);
  }
};

/** Weights, cache and workspace; WebAssembly never gives memory back, so that this is the peak. */
export const memoryBytes = (): number => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);

/** @param onBytes told how much more has come. */
export async function openDecoder({ model, address, threads }: LoadRequest, onBytes: (bytes: number) => void) {
  env.wasm.wasmPaths = { mjs: absolute(mjs), wasm: absolute(wasm) };
  env.wasm.numThreads = threads;
  const [graph, ...data] = await Promise.all([model.graph, ...model.data].map((path) => fetchBytes(address + path, onBytes)));
  const externalData = model.data.map((path, i) => ({ path: path.replace(/^.*\//, ""), data: data[i] as Uint8Array }));
  const session = await InferenceSession.create(graph as Uint8Array, {
    executionProviders: ["wasm"],
    externalData,
    logSeverityLevel: 3,
  });
  return new OnnxDecoder({ Tensor }, session);
}

const absolute = (address: string) => new URL(address, import.meta.url).href;

async function fetchBytes(address: string, onBytes: (bytes: number) => void): Promise<Uint8Array> {
  const response = await fetchWhole(address);
  const bytes = new Uint8Array(Number(response.headers.get("Content-Length")));
  let at = 0;
  for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
    bytes.set(piece, at);
    at += piece.length;
    onBytes(piece.length);
  }
  return bytes;
}

/** @throws Error saying what the server answered. */
export async function fetchWhole(address: string): Promise<Response> {
  const response = await fetch(address);
  if (response.ok) return response;
  throw new Error(`${new URL(address, location.href).pathname.replace(/^.*\/models\//, "models/")}: ${await response.text()}`);
}
