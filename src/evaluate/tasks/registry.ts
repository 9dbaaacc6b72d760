/** The tasks by name; a file belongs to the task that it, or its folder, is named after. */
import { basename, dirname } from "node:path";
import { arcChallenge } from "./arc-challenge.ts";
import { arcEasy } from "./arc-easy.ts";
import { boolq } from "./boolq.ts";
import { hellaswag } from "./hellaswag.ts";
import { lambada } from "./lambada.ts";
import { multipleChoice } from "./multiple-choice.ts";
import { openbookqa } from "./openbookqa.ts";
import { piqa } from "./piqa.ts";
import type { Task } from "./task.ts";
import { winogrande } from "./winogrande.ts";

export const tasks: readonly Task[] = [boolq, piqa, hellaswag, winogrande, arcEasy, arcChallenge, openbookqa, lambada];

/** `piqa/test.jsonl`, `piqa.jsonl` and `arc-easy_validation.jsonl` are named after a task; others are plain multiple choice. */
export function taskOf(file: string): Task {
  const names = [basename(file), basename(dirname(file))].map((name) => name.toLowerCase().replaceAll("-", "_"));
  const found = names.flatMap((name) => tasks.filter((task) => isNamedAfter(name, task)));
  return found[0] ?? multipleChoice;
}

const isNamedAfter = (file: string, { name }: Task) => file.startsWith(name) && /^([._]|$)/.test(file.slice(name.length));
