/** HellaSwag: how a description goes on. Zellers et al. 2019, arXiv:1905.07830. */
import { choose, type Task } from "./task.ts";

export const hellaswag: Task = {
  name: "hellaswag",
  metrics: ["acc", "accNorm"],
  question(row) {
    const endings = row.texts("endings").map(clean);
    const context = `${row.text("activity_label")}: ${row.text("ctx_a")} ${capitalize(row.text("ctx_b"))}`;
    return choose(clean(context), endings, row.index("label", endings.length));
  },
};

/** Brackets are left over from the WikiHow part of the data. */
function clean(text: string): string {
  return text
    .trim()
    .replaceAll(" [title]", ". ")
    .replace(/\[.*?\]/g, "")
    .replaceAll("  ", " ");
}

/** As Python does: the first character upper case, all others lower case. */
function capitalize(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}
