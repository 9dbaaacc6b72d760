/** `rankfold push`: a compressed model to the hub. */
import { type Command, Option } from "commander";
import { parseOptions, pushOptions } from "../pipeline/options.ts";
import type { PushResult } from "../pipeline/results.ts";
import { renderFacts } from "../report/table.ts";
import { formatBytes, formatSeconds } from "../report/units.ts";
import { addOptions, type OutputOptions } from "./options.ts";
import { print, runWatched } from "./session.ts";

const DEFAULTS = parseOptions(pushOptions, { out: "-", repo: "-" });

export const PUSH = [
  new Option("--private", "make the repository a private one, where there is none yet"),
  new Option("--revision <branch>", "the branch to write; made where there is none").default(DEFAULTS.revision),
];

type Flags = OutputOptions & { readonly private?: boolean; readonly revision: string };

export function addPush(program: Command): void {
  const command = program.command("push").description("put a folder that rankfold compress wrote on the hub; needs HF_TOKEN");
  command.argument("<out>", "the folder").argument("<repo>", "the repository, owner/name; made where there is none");
  addOptions(command, ...PUSH).action(async (out: string, repo: string, { json, quiet, ...rest }: Flags) => {
    const options = parseOptions(pushOptions, { out, repo, ...rest });
    print(await runWatched("push", options, { json, quiet }), { json, quiet }, renderPush);
  });
}

export function renderPush(result: PushResult): string {
  return renderFacts([
    ["repository", `${result.repo}${result.created ? " (new)" : ""}, ${result.revision}`],
    ["commit", result.commit],
    ["address", result.url],
    ["files", `${result.files.length}, ${formatBytes(result.bytes)}`],
    ["time", formatSeconds(result.seconds)],
  ]);
}
