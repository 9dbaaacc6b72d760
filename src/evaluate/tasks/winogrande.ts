/** WinoGrande: which of two names a blank stands for, by the likelihood of what follows it. Sakaguchi et al. 2019, arXiv:1907.10641. */
import { chooseContext, type Task } from "./task.ts";

export const winogrande: Task = {
  name: "winogrande",
  metrics: ["acc"],
  question(row) {
    const sentence = row.text("sentence");
    const blank = sentence.indexOf("_");
    if (blank < 0) row.reject("sentence", 'a text with a blank "_"');
    const contexts = ["option1", "option2"].map((option) => sentence.slice(0, blank) + row.text(option));
    return chooseContext(contexts, sentence.slice(blank + 1).trim(), row.index("answer", 2, 1));
  },
};
