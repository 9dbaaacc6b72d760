/** `generate`: continues a prompt, greedily or by sampling, with a cache of keys and values. */
import type { z } from "zod";
import { UsageError } from "../errors.ts";
import { Decoder } from "../evaluate/decoder.ts";
import { sampler } from "../evaluate/sample.ts";
import { loadModel, type Model } from "../models/load.ts";
import { renderChat } from "../tokenizer/chat.ts";
import { TextStream } from "../tokenizer/text-stream.ts";
import type { Job } from "./job.ts";
import { stopwatch } from "./measure.ts";
import type { generateOptions } from "./options.ts";
import type { GenerateResult } from "./results.ts";

type Options = z.output<typeof generateOptions>;

export async function generate(options: Options, job: Job): Promise<GenerateResult> {
  const model = await loadModel(options.model, job);
  const prompt = promptTokens(model, options);
  const clock = stopwatch();
  const generated = continuation(model, prompt, options, job);
  const seconds = clock();
  return {
    model: model.source,
    prompt: options.prompt,
    text: model.tokenizer.decode(generated),
    promptTokens: prompt.length,
    tokens: generated.length,
    seconds,
    tokensPerSecond: generated.length / seconds,
  };
}

function promptTokens({ tokenizer }: Model, { prompt, chat }: Options): Uint32Array {
  const asChat = chat ?? tokenizer.chatTemplate !== undefined;
  const tokens = tokenizer.encode(asChat ? renderChat(tokenizer, [{ role: "user", content: prompt }]) : prompt);
  if (tokens.length === 0) throw new UsageError("--prompt: it holds no tokens; give some text");
  return tokens;
}

/** The tokens after the prompt, up to the end-of-text token; each piece of text goes to the job as it comes. */
function continuation(model: Model, prompt: Uint32Array, options: Options, job: Job): number[] {
  const decoder = new Decoder(model);
  const sample = sampler(options);
  const generated = new TextStream(model.tokenizer);
  try {
    let next = sample(decoder.advance(prompt));
    while (generated.ids.length < options.tokens && !model.tokenizer.eosIds.has(next)) {
      job.checkpoint();
      job.text(generated.add(next));
      if (generated.ids.length < options.tokens) next = sample(decoder.advance(Uint32Array.of(next)));
    }
    return generated.ids;
  } finally {
    decoder.dispose();
  }
}
