/**
 * LLM-ROM's experiment: its method on the last blocks and on all, and the plain svd, at fractions of the WHOLE model, on
 * zero-shot tasks. One JSON file a model; what is there already is not measured again. bench/results.mjs makes the tables.
 *
 *   node bench/rom-protocol.mjs MODEL DATA OUT [--kept 0.9,0.8,0.5] [--samples 512] [--window 128] [--limit 200]
 *
 * DATA holds a folder for each task with its test.jsonl. Calibration takes equal parts of six tasks, from the rows behind the
 * first --limit, which are the ones asked.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { keepIn, need, onTasks, rankfold, TASKS } from "./common.mjs";

/** OpenBookQA is not in the paper's mixture. */
const MIXTURE = TASKS.slice(0, -1);

const VARIANTS = {
  "rom, last blocks": ["--method", "rom", "--allocate", "last-blocks"],
  "rom, uniform": ["--method", "rom"],
  "svd, uniform": ["--method", "svd"],
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    kept: { type: "string", default: "0.9,0.8,0.5" },
    samples: { type: "string", default: "512" },
    window: { type: "string", default: "128" },
    limit: { type: "string", default: "200" },
  },
});
const [model, data, out] = positionals;
need(out, "node bench/rom-protocol.mjs MODEL DATA OUT");

/** The rows behind those that are asked. */
function mixtureFile(task) {
  const file = join(out, "mixture", `${task}.jsonl`);
  const rows = readFileSync(join(data, task, "test.jsonl"), "utf8").split("\n");
  writeFileSync(file, rows.slice(Number(values.limit)).join("\n"));
  return file;
}

mkdirSync(join(out, "mixture"), { recursive: true });
const mixture = MIXTURE.map(mixtureFile);
const evaluate = (folder) => onTasks(folder, data, values.limit);
keepIn(out, "dense", () => ({ variant: "dense", kept: 1, keptTotal: 1, ...evaluate(model) }));

const { parameters, projections } = rankfold("inspect", model);
const inProjections = projections.reduce((sum, { rows, columns, blocks }) => sum + rows * columns * blocks, 0);
for (const share of values.kept.split(",").map(Number)) {
  // What the projections have to keep, so that all parameters together are that fraction.
  const keep = (1 - ((1 - share) * parameters) / inProjections).toFixed(4);
  for (const [variant, options] of Object.entries(VARIANTS)) {
    keepIn(out, `${variant} ${share}`, () => {
      const folder = join(out, "model");
      rmSync(folder, { recursive: true, force: true });
      const calibration = options.includes("svd") ? [] : ["--calibration", ...mixture];
      const windows = ["--samples", values.samples, "--window", values.window];
      const made = rankfold("compress", model, "-o", folder, ...options, "--keep", keep, ...calibration, ...windows);
      const measured = evaluate(folder);
      rmSync(folder, { recursive: true });
      const { keptTotal, keptProjections } = made;
      return { variant, kept: share, keptTotal, keptProjections, keep: made.keep, blocks: factoredBlocks(made), ...measured };
    });
  }
}

/** How many blocks have a factor in them. */
function factoredBlocks({ projections: reports }) {
  return new Set(reports.filter(({ rank }) => rank !== null).map(({ name }) => /\d+/.exec(name)?.[0])).size;
}
