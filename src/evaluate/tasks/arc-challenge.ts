/** ARC, science questions of school examinations: the questions that retrieval and co-occurrence get wrong. */
import { arcQuestion } from "./arc.ts";
import type { Task } from "./task.ts";

export const arcChallenge: Task = { name: "arc_challenge", metrics: ["acc", "accNorm"], question: arcQuestion };
