/** LAMBADA: the last word of a passage, right when every token of it is the likeliest. Paperno et al. 2016, arXiv:1606.06031. */
import { choose, type Task } from "./task.ts";

export const lambada: Task = {
  name: "lambada",
  metrics: ["acc", "perplexity"],
  question(row) {
    const words = row.text("text").split(" ");
    return choose(words.slice(0, -1).join(" "), words.slice(-1), 0);
  },
};
