/** The questions in a task's file. */
import { FormatError } from "../../errors.ts";
import { readJsonLines } from "../../formats/json-lines.ts";
import type { JsonObject } from "../../json-object.ts";
import { multipleChoice } from "./multiple-choice.ts";
import { taskOf } from "./registry.ts";
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

/**
 * A task's row with its right answer, as a prompt: what ROM calibrates on. Undefined for a row that is none of a task's.
 * @throws FormatError where the file is named after a task whose fields the row lacks.
 */
export function answeredPrompt(file: string, fields: JsonObject, line: number): string | undefined {
  const row = new Row(fields, file, line);
  const task = taskOf(file);
  const question = preparedQuestion(row) ?? (task === multipleChoice ? undefined : task.question(row));
  const right = question?.candidates[question.label];
  return right && (right.context + right.continuation).trimStart();
}
