/** The questions in a task's file. */
import { FormatError } from "../../errors.ts";
import { readJsonLines } from "../../formats/json-lines.ts";
import { Row } from "./row.ts";
import { preparedQuestion, type Question, type Task } from "./task.ts";

/**
 * The first `limit` rows, prepared ones ({context, choices, label}) or the published data set's.
 * @throws StorageError, FormatError naming the file and the line.
 */
export function readQuestions(file: string, task: Task, limit?: number): Question[] {
  const questions = readJsonLines(file, limit).map(({ fields, line }) => {
    const row = new Row(fields, file, line);
    return preparedQuestion(row) ?? task.question(row);
  });
  if (questions.length === 0) throw new FormatError(file, "expected rows of a task, found none; give one JSON object a line");
  return questions;
}
