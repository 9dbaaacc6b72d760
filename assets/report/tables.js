/** Perplexities and accuracies by keep and method, with the change against a baseline; sizes, times and the protocol. */
import {
  byId,
  DENSE,
  data,
  element,
  fillSelect,
  fillTable,
  formatChange,
  formatMeasure,
  formatPercent,
  formatPoints,
  tableRow,
} from "./dom.js";

const groups = [...new Set(data.cells.map(({ keep }) => keep))].sort((a, b) => b - a);
const cellsOf = (keep) =>
  data.methods.flatMap((method) => data.cells.find((cell) => cell.method === method && cell.keep === keep) ?? []);

/** The two tables: what they are of, whether less is better, and what a value changes by. */
const KINDS = {
  perplexity: {
    ...{ section: "table", body: "table-body", baseline: "table-baseline", caption: "Perplexity, lower is better" },
    best: (values) => Math.min(...values),
    change: (value, base) => formatChange(value / base),
    isBetter: (value, base) => value < base,
  },
  accuracy: {
    ...{ section: "tasks", body: "tasks-body", baseline: "tasks-baseline" },
    caption: "Accuracy in percent with its standard error, higher is better; norm: by the likelihood per character",
    best: (values) => Math.max(...values),
    change: (value, base) => formatPoints(value - base),
    isBetter: (value, base) => value > base,
  },
};

export function startTables() {
  for (const kind of Object.keys(KINDS)) startTable(kind);
  drawCosts();
  drawProtocol();
}

function startTable(kind) {
  const { section, baseline } = KINDS[kind];
  const columns = data.measures.flatMap((measure, i) => (measure.kind === kind ? [i] : []));
  for (const part of [byId(section), document.querySelector(`nav a[href="#${section}"]`)]) part.hidden = columns.length === 0;
  if (columns.length === 0) return;
  const baselines = [DENSE, ...data.methods].map((name) => [name, name === DENSE ? "the dense model" : name]);
  const draw = (name) => drawTable(kind, columns, name);
  fillSelect(byId(baseline), [["", "nothing"], ...baselines], draw);
  byId(baseline).value = data.methods.length > 1 ? data.methods[0] : DENSE;
  draw(byId(baseline).value);
}

function drawTable(kind, columns, baseline) {
  const heads = ["", ...columns.map((i) => data.measures[i].name)];
  const dense = tableRow(DENSE, ...columns.map((i) => valueCell(kind, data.dense, i)));
  const bodies = groups.map((keep) => groupRows(kind, columns, keep, baseline));
  fillTable(byId(KINDS[kind].body), KINDS[kind].caption, heads, [dense], ...bodies);
}

function groupRows(kind, columns, keep, baseline) {
  const cells = cellsOf(keep);
  const best = new Map(columns.map((i) => [i, KINDS[kind].best(cells.map(({ values }) => values[i]))]));
  const base = baseline === DENSE ? data.dense : cells.find(({ method }) => method === baseline);
  const kept = cells.length > 0 ? `, ${formatPercent(cells[0].keptTotal)} of the model` : "";
  const head = element("th", { className: "group", scope: "rowgroup", colSpan: columns.length + 1 }, `keep ${keep}${kept}`);
  const rows = cells.map((cell) => {
    const isBest = (i) => cell.values[i] === best.get(i) && cells.length > 1;
    return tableRow(cell.method, ...columns.map((i) => valueCell(kind, cell, i, isBest(i), base === cell ? undefined : base)));
  });
  return [element("tr", {}, head), ...rows];
}

function valueCell(kind, row, i, isBest = false, base = undefined) {
  const value = row.values[i];
  const shown = element("span", { className: isBest ? "best" : "" }, formatMeasure(kind, value));
  if (isBest) shown.append(element("span", { className: "hidden-text" }, " best"));
  const cell = element("td", {}, shown);
  if (row.notes[i]) cell.append(element("span", { className: "change" }, row.notes[i]));
  if (!base) return cell;
  const change = KINDS[kind].change(value, base.values[i]);
  const direction = change.startsWith("\u00b1") ? "" : KINDS[kind].isBetter(value, base.values[i]) ? "better" : "worse";
  cell.append(element("span", { className: `change ${direction}` }, change));
  return cell;
}

function drawCosts() {
  const heads = ["", "parameters", "weights", "of the model", "of the projections", "time"];
  const dense = tableRow(DENSE, data.dense.size, data.dense.weights, "100.0 %", "100.0 %", data.dense.time);
  const rows = data.cells.map((cell) => {
    const kept = [formatPercent(cell.keptTotal), formatPercent(cell.keptProjections)];
    return tableRow(`${cell.method} at ${cell.keep}`, cell.size, cell.weights, ...kept, cell.time);
  });
  fillTable(byId("cost-body"), "Time: of measuring, with the cell's share of decomposing", heads, [dense, ...rows]);
}

function drawProtocol() {
  byId("summary").textContent = data.summary;
  byId("command").textContent = data.command;
  byId("facts").replaceChildren(element("tbody", {}, ...data.facts.map(([name, value]) => tableRow(name, value))));
  const rows = [...data.texts, ...data.calibration].map(({ text, use, tokens, windows, sha256 }) => {
    return tableRow(text, use, tokens, windows, hashCell(sha256));
  });
  const heads = ["text", "for", "tokens", "windows", "SHA-256"];
  fillTable(byId("texts"), "Tokens of the whole text, and the windows that were used", heads, rows);
}

const hashCell = (sha256) => element("td", {}, element("span", { className: "hash" }, sha256));
