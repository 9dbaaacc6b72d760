/** ARC, science questions of school examinations: the questions that most systems answer. */
import { arcQuestion } from "./arc.ts";
import type { Task } from "./task.ts";

export const arcEasy: Task = { name: "arc_easy", metrics: ["acc", "accNorm"], question: arcQuestion };
