/**
 * The tables of docs/results.md, from what `sweep` and the programs beside this one wrote, so that no figure is typed by hand.
 *
 *   node bench/results.mjs docs/results.md [--texts SWEEP/results.json --calibrated wikitext2] [--tasks ROM_FOLDER]
 *     [--recipes TASKS_FOLDER] [--allocations FILE.json]
 *
 * --calibrated names the texts of the kind that was calibrated on; averages are also made without them; --recipes takes what bench/tasks.mjs
 * wrote, --allocations what bench/allocation.mjs did. Fills the parts of the document between `<!-- NAME -->` and `<!-- end -->` whose source
 * is given, and leaves the others.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    ...Object.fromEntries(["texts", "tasks", "recipes", "allocations"].map((name) => [name, { type: "string" }])),
    calibrated: { type: "string", default: "" },
  },
});
const [document] = positionals;
if (!document) {
  console.error("usage: node bench/results.mjs DOCUMENT.md [--texts SWEEP/results.json] [--tasks ROM_FOLDER]");
  process.exit(2);
}

const readJson = (file) => JSON.parse(readFileSync(file, "utf8"));
const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
/** Arithmetic means are ruled by the texts that a model is worst at; geometric ones weigh every text alike. */
const geometric = (list) => Math.exp(mean(list.map(Math.log)));
const number = (value) => (value < 1e6 ? Number(value.toPrecision(4)).toString() : value.toExponential(2));
const percent = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)} %`;
const table = (heads, rows) =>
  [heads, heads.map((_, i) => (i === 0 ? "---" : "---:")), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const parts = {
  ...(values.texts ? textParts(readJson(values.texts)) : {}),
  ...(values.tasks ? taskParts("tasks", values.tasks) : {}),
  ...(values.recipes ? taskParts("recipes", values.recipes) : {}),
  ...(values.allocations ? { allocations: allocationTable(readJson(values.allocations)) } : {}),
};

function textParts({ protocol, dense, cells, spectra, command }) {
  const methods = [...new Set(cells.map(({ method }) => method))];
  const keeps = [...new Set(cells.map(({ keep }) => keep))].sort((a, b) => b - a);
  const names = protocol.texts.map(({ text }) => text.replace(/\.\w+$/, ""));
  const calibrated = new Set(values.calibrated.split(","));
  const others = names.flatMap((name, i) => (calibrated.has(name) ? [] : [i]));
  const perplexities = ({ texts }) => texts.map(({ perplexity }) => perplexity);
  const averages = (row) => [geometric(perplexities(row)), geometric(others.map((i) => row.texts[i].perplexity))];
  const valuesOf = (row) => [...perplexities(row), ...averages(row)];
  const cellOf = (method, keep) => cells.find((cell) => cell.method === method && cell.keep === keep);

  const heads = ["", ...names, "all", "not calibrated on"];
  const ofKeep = (keep) => {
    const rows = methods.flatMap((method) => cellOf(method, keep) ?? []);
    const best = heads.slice(1).map((_, i) => Math.min(...rows.map((row) => valuesOf(row)[i])));
    const shown = (row) =>
      valuesOf(row).map((value, i) => (rows.length > 1 && value === best[i] ? `**${number(value)}**` : number(value)));
    const body = [["dense", ...valuesOf(dense).map(number)], ...rows.map((row) => [`\`${row.method}\``, ...shown(row)])];
    const kept = (100 * rows[0].keptTotal).toFixed(1);
    return `#### keep ${keep}: ${kept} % of the whole model\n\n${table(heads, body)}`;
  };

  const against = (method, baseline) => (keep) => {
    const [ours, theirs] = [cellOf(method, keep), cellOf(baseline, keep)];
    if (!ours || !theirs) return [];
    const changes = names.map((_, i) => ours.texts[i].perplexity / theirs.texts[i].perplexity - 1);
    const unseen = others.map((i) => changes[i]);
    const arithmetic = (row) => mean(others.map((i) => row.texts[i].perplexity));
    const better = unseen.filter((change) => change < 0).length;
    const seen = changes.filter((_, i) => !others.includes(i));
    return [
      [String(keep), number(averages(theirs)[1]), number(averages(ours)[1]), percent(averages(ours)[1] / averages(theirs)[1] - 1)]
        .concat(percent(arithmetic(ours) / arithmetic(theirs) - 1), `${better} of ${others.length}`)
        .concat(seen.map(percent)),
    ];
  };
  const comparison = (method, baseline) => {
    const seen = names.filter((_, i) => !others.includes(i));
    const columns = [`\`${baseline}\``, `\`${method}\``, "change", "change of the arithmetic mean", "texts it is better on"];
    return table(["keep", ...columns, ...seen.map((name) => `change on ${name}`)], keeps.flatMap(against(method, baseline)));
  };
  const windows = [...new Set(protocol.texts.map(({ windows: count }) => count))].join(", ");
  return {
    "texts command": `\`\`\`\n${command}\n\`\`\``,
    "texts protocol": `${cells.length} cells from one calibration (${protocol.calibration.map(({ text, samples }) => `${samples} windows of ${protocol.calibrationWindow} tokens of ${text}`).join(", ")}); each text: ${windows} windows of ${protocol.window} tokens; factors written as ${protocol.dtype}; ${spectra.length} spectra kept.`,
    perplexity: keeps.map(ofKeep).join("\n\n"),
    ...Object.fromEntries(
      methods
        .filter((method) => method !== "svd-llm")
        .map((method) => [`${method} against svd-llm`, comparison(method, "svd-llm")]),
    ),
  };
}

/** A row for each method and allocator, and in it every text at every keep. */
function allocationTable(cells) {
  const keeps = [...new Set(cells.map(({ keep }) => keep))].sort((a, b) => b - a);
  const rows = new Map(cells.map(({ method, allocate }) => [`\`${method}\` | \`${allocate}\``, { method, allocate }]));
  const cellOf = ({ method, allocate }, keep) =>
    cells.find((cell) => cell.method === method && cell.allocate === allocate && cell.keep === keep);
  const names = cells[0].texts.map(({ text }) => text.replace(/\.\w+$/, ""));
  const heads = keeps.flatMap((keep) => names.map((name) => `${keep}: ${name}`));
  const body = [...rows].map(([title, row]) => [
    title,
    ...keeps.flatMap((keep) => {
      const cell = cellOf(row, keep);
      return names.map((_, i) => (cell ? number(cell.texts[i].perplexity) : ""));
    }),
  ]);
  return table(["method | allocator", ...heads], body).replace("| ---", "| --- | ---");
}

function taskParts(part, folder) {
  const models = readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => readJson(join(folder, name)));
  const dense = models.find(({ variant }) => variant === "dense");
  const counted = models.some(({ blocks }) => blocks !== undefined);
  const points = (value) => (100 * value).toFixed(1);
  const average = ({ tasks }) => mean(tasks.map(({ acc }) => acc));
  // Who says no always gets 30 of the first 100 there, who says yes always 70: it tells how a model leans.
  const withoutBoolq = ({ tasks }) => average({ tasks: tasks.filter(({ task }) => task !== "boolq") });
  // Tasks are independent of one another: the errors of their mean add up in squares.
  const error = ({ tasks }) => Math.hypot(...tasks.map(({ accStderr }) => accStderr)) / tasks.length;
  const row = (model) => [
    ...[model.variant, `${points(model.keptTotal)} %`, ...(counted ? [`${model.blocks ?? ""}`] : [])],
    ...[
      ...model.tasks.map(({ acc }) => points(acc)),
      `${points(average(model))} ± ${points(error(model))}`,
      points(withoutBoolq(model)),
    ],
  ];
  const heads = [
    "",
    "of the model",
    ...(counted ? ["blocks"] : []),
    ...dense.tasks.map(({ task }) => task),
    "average",
    "without boolq",
  ];
  const sizeOf = (model) => model.kept ?? Number(model.keptTotal.toFixed(2));
  const order = [...new Set(models.map(sizeOf))].sort((a, b) => b - a);
  const rows = order.flatMap((size) => models.filter((model) => sizeOf(model) === size).sort((a, b) => average(b) - average(a)));
  return { [part]: table(heads, rows.map(row)), [`${part} rows`]: `${dense.tasks[0].rows} questions of each task.` };
}

let text = readFileSync(document, "utf8");
for (const [name, content] of Object.entries(parts)) {
  const part = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- end -->)`);
  text = text.replace(part, (_, begin, end) => `${begin}\n${content}\n\n${end}`);
}
writeFileSync(document, text);
