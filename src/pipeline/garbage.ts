/** Memory of JavaScript objects that nobody refers to any more. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Has V8 take it back now. By itself it does so when it needs more: what tokenising a text leaves, 40 MB and more, would stay beside
 * the first block's tensors and be the peak of a run.
 */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
