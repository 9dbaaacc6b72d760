/** A file that is none of the known tasks: rows of {context, choices, label}. */
import type { Task } from "./task.ts";

export const multipleChoice: Task = {
  name: "multiple_choice",
  metrics: ["acc", "accNorm"],
  question: (row) => row.reject(row.hasText("context") ? "choices" : "context", "a row of context, choices and label"),
};
