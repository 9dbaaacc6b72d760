/** What ARC and OpenBookQA share: choices with labels, and the right one's label as answer. */
import type { Row } from "./row.ts";
import { choose, type Question } from "./task.ts";

/** Clark et al. 2018, arXiv:1803.05457. */
export const arcQuestion = (row: Row): Question => chooseLabelled(`Question: ${row.text("question")}\nAnswer:`, row);

/** Choices are {text: [...], label: [...]}; labels may be letters or digits. @throws FormatError when the answer is none of them. */
export function chooseLabelled(context: string, row: Row): Question {
  const choices = row.part("choices");
  const labels = choices.texts("label");
  const answer = labels.indexOf(row.text("answerKey").trimStart());
  return choose(context, choices.texts("text"), answer < 0 ? row.reject("answerKey", `one of ${labels.join(", ")}`) : answer);
}
