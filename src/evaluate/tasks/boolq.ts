/** BoolQ: a passage, and a question that yes or no answers. Clark et al. 2019, arXiv:1905.10044. */
import { choose, type Task } from "./task.ts";

export const boolq: Task = {
  name: "boolq",
  metrics: ["acc"],
  question(row) {
    const label = row.index(row.has("label") ? "label" : "answer", 2);
    return choose(`${row.text("passage")}\nQuestion: ${row.text("question")}?\nAnswer:`, ["no", "yes"], label);
  },
};
