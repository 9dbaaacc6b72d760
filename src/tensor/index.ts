/** The tensor engine's façade, the only importer of `native/`: shapes are checked here, failures are typed. */
export { Recording, record } from "./autograd.ts";
export * from "./files.ts";
export * from "./linalg.ts";
export * from "./nn.ts";
export * from "./optimizer.ts";
export * from "./skeleton.ts";
export * from "./statistics.ts";
export { BYTES, type DType, describe, dispose, hcat, keep, scope, Tensor, vcat } from "./tensor.ts";
