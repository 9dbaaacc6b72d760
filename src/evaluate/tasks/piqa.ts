/** PIQA: two ways to reach a goal. Bisk et al. 2020, arXiv:1911.11641. */
import { choose, type Task } from "./task.ts";

export const piqa: Task = {
  name: "piqa",
  metrics: ["acc", "accNorm"],
  question: (row) =>
    choose(`Question: ${row.text("goal")}\nAnswer:`, [row.text("sol1"), row.text("sol2")], row.index("label", 2)),
};
