/** The public library: the same jobs as the command line, typed. `compress` and `evaluate` run in a worker thread. */
export * from "./errors.ts";
export { loadModel, type Model } from "./models/load.ts";
