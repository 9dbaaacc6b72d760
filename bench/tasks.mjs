/**
 * Accuracy of models on the seven zero-shot tasks, one JSON file a model; what is there already is not measured again.
 * bench/results.mjs makes the table.
 *
 *   node bench/tasks.mjs DATA OUT [--limit 100] "dense=MODEL.gguf" "svd-llm, keep .8=FOLDER" ...
 *
 * DATA holds a folder for each task with its test.jsonl.
 */
import { mkdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { keepIn, need, onTasks, rankfold } from "./common.mjs";

const { positionals, values } = parseArgs({ allowPositionals: true, options: { limit: { type: "string", default: "100" } } });
const [data, out, ...models] = positionals;
need(models.length > 0, 'node bench/tasks.mjs DATA OUT "dense=MODEL.gguf" "svd-llm, keep .8=FOLDER"');

mkdirSync(out, { recursive: true });
const [first] = models.map((named) => named.split("=")[1]);
const whole = rankfold("inspect", first).parameters;
for (const named of models) {
  const [variant, model] = named.split("=");
  keepIn(out, variant, () => {
    const measured = onTasks(model, data, values.limit);
    return { variant, keptTotal: measured.parameters / whole, ...measured };
  });
}
