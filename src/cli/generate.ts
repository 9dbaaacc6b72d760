/** `rankfold generate`: text, as it comes. */
import type { Command } from "commander";
import { type GenerateOptions, generateOptions, parseOptions } from "../pipeline/options.ts";
import { addOptions, GENERATE, MODEL, type OutputOptions, THREADS } from "./options.ts";
import { print, runWatched } from "./session.ts";

type Flags = Omit<GenerateOptions, "model"> & OutputOptions;

export function addGenerate(program: Command): void {
  const command = program.command("generate").description("continue a prompt");
  addOptions(command.argument("<model>", MODEL), ...GENERATE, THREADS).action(async (model: string, flags: Flags) => {
    const { json, quiet, ...rest } = flags;
    const options = parseOptions(generateOptions, { model, ...rest });
    const onText = (piece: string) => void (json || process.stdout.write(piece));
    const result = await runWatched("generate", options, { json, quiet, onText });
    print(result, { json, quiet }, () => "\n");
    if (!quiet) process.stderr.write(`${result.tokens} tokens, ${result.tokensPerSecond.toFixed(1)} a second\n`);
  });
}
