/** The command line: parses, runs one command, maps what is thrown to an exit code and one line on stderr. */
import { Command, CommanderError } from "commander";
import { InterruptedError, RankfoldError, UsageError } from "../errors.ts";
import { VERSION } from "../version.ts";
import { addCalibrate, addMergeStatistics } from "./calibrate.ts";
import { addCompress } from "./compress.ts";
import { addDemo } from "./demo.ts";
import { addEvaluate } from "./evaluate.ts";
import { addExport } from "./export.ts";
import { addGenerate } from "./generate.ts";
import { addInspect } from "./inspect.ts";
import { addOpen } from "./open.ts";
import { addPush } from "./push.ts";
import { addRefine } from "./refine.ts";
import { INTERRUPTED } from "./session.ts";
import { addSweep } from "./sweep.ts";

const DONE = 0;
const FAILED = 1;
const WRONG_USAGE = 2;

/** Runs the command line; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
export async function main(argv: readonly string[]): Promise<number> {
  process.stdout.on("error", quitWhenNobodyReads);
  try {
    await program().parseAsync(argv, { from: "user" });
    return DONE;
  } catch (thrown) {
    return report(thrown);
  }
}

function program(): Command {
  const command = new Command("rankfold").description("Makes language models smaller by low-rank factorisation.");
  command.version(VERSION);
  command.exitOverride().configureHelp({ helpWidth: 120 }).showSuggestionAfterError();
  for (const add of [
    addDemo,
    addInspect,
    addCompress,
    addRefine,
    addEvaluate,
    addGenerate,
    addExport,
    addCalibrate,
    addMergeStatistics,
    addSweep,
    addPush,
    addOpen,
  ])
    add(command);
  return command;
}

function report(thrown: unknown): number {
  // Commander has printed its own line already; its code is 0 for --help and --version.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? DONE : WRONG_USAGE;
  console.error(`rankfold: ${lineOf(thrown)}`);
  if (thrown instanceof UsageError) return WRONG_USAGE;
  return thrown instanceof InterruptedError ? INTERRUPTED : FAILED;
}

/** The message of an error of ours; anything else is a defect, whose place is worth a report. */
function lineOf(thrown: unknown): string {
  if (thrown instanceof RankfoldError) return thrown.message.replaceAll("\n", " ");
  if (!(thrown instanceof Error)) return String(thrown);
  if (process.env.RANKFOLD_TRACE) return thrown.stack ?? thrown.message;
  return `a defect of rankfold, ${thrown.name}: ${thrown.message.replaceAll("\n", " ")} (RANKFOLD_TRACE=1 shows where)`;
}

/** `rankfold inspect MODEL | head` closes our stdout early: no error. */
function quitWhenNobodyReads(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(DONE);
  throw error;
}
