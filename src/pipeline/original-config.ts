/** config.json as other programs know it: without what compression added. */
import type { Json } from "../models/config.ts";
import type { Model } from "../models/load.ts";

const ADDED = /^(projection_\w+|block_\w+|auto_map)$/;
/** Classes whose names do not follow from the model type by upper case alone. */
const CLASSES: Readonly<Record<string, string>> = { gpt2: "GPT2", opt: "OPT" };

export function originalConfig({ configJson, config }: Model): Json {
  const kept = Object.entries(configJson).filter(([key]) => !ADDED.test(key));
  return { ...Object.fromEntries(kept), model_type: config.modelType, architectures: [causalClass(config.modelType)] };
}

/** `qwen2` -> `Qwen2ForCausalLM`. */
function causalClass(modelType: string): string {
  const name = modelType.replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());
  return `${CLASSES[modelType] ?? name}ForCausalLM`;
}
