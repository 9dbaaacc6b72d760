/**
 * Prints, for each question of a task's file, the log-likelihoods of its candidates by rankfold: what lm-eval-compare.py reads.
 *
 * Usage: node bench/peers/task-likelihoods.mjs MODEL FILE.jsonl [ROWS]      (in a built clone)
 */
import { loglikelihoods } from "../../dist/evaluate/loglikelihood.js";
import { requestOf } from "../../dist/evaluate/requests.js";
import { readQuestions } from "../../dist/evaluate/tasks/questions.js";
import { taskOf } from "../../dist/evaluate/tasks/registry.js";
import { loadModel } from "../../dist/models/load.js";

const [path, file, rows] = process.argv.slice(2);
const model = await loadModel(path);
const { tokenizer } = model;
const splitting = { tokenizer, bos: tokenizer.addsBos, maxPositions: model.config.maxPositions };
const questions = readQuestions(file, taskOf(file), rows && Number(rows));
const requests = questions.map(({ candidates }) => candidates.map((c) => requestOf(c.context, c.continuation, splitting)));
const likelihoods = loglikelihoods(model, requests);
console.log(JSON.stringify(likelihoods.map((row) => row.map((each) => [each.logProbability, each.isGreedy]))));
