/** OpenBookQA: elementary science, the question's stem alone as context. Mihaylov et al. 2018, arXiv:1809.02789. */
import { chooseLabelled } from "./arc.ts";
import type { Task } from "./task.ts";

export const openbookqa: Task = {
  name: "openbookqa",
  metrics: ["acc", "accNorm"],
  question: (row) => chooseLabelled(row.text("question_stem"), row),
};
