/** Perplexities by keep, method and text, with the change against a baseline; sizes, times and the protocol. */
import {
  byId,
  DENSE,
  data,
  element,
  fillSelect,
  fillTable,
  formatChange,
  formatPercent,
  formatPerplexity,
  tableRow,
} from "./dom.js";

const groups = [...new Set(data.cells.map(({ keep }) => keep))].sort((a, b) => b - a);
const columns = data.texts.length > 1 ? data.texts.length + 1 : data.texts.length;

const cellsOf = (keep) =>
  data.methods.flatMap((method) => data.cells.find((cell) => cell.method === method && cell.keep === keep) ?? []);
const valuesOf = (row) => (columns > data.texts.length ? [...row.perplexities, row.average] : row.perplexities);

export function startTables() {
  const baselines = [DENSE, ...data.methods].map((name) => [name, name === DENSE ? "the dense model" : name]);
  fillSelect(byId("table-baseline"), [["", "nothing"], ...baselines], drawTable);
  byId("table-baseline").value = data.methods.length > 1 ? data.methods[0] : DENSE;
  drawTable(byId("table-baseline").value);
  drawCosts();
  drawProtocol();
}

function drawTable(baseline) {
  const heads = ["", ...data.texts.map(({ text }) => text), ...(columns > data.texts.length ? ["average"] : [])];
  const dense = tableRow(DENSE, ...valuesOf(data.dense).map(formatPerplexity));
  const bodies = groups.map((keep) => groupRows(keep, baseline));
  fillTable(byId("table-body"), "Perplexity, lower is better", heads, [dense], ...bodies);
}

function groupRows(keep, baseline) {
  const cells = cellsOf(keep);
  const best = Array.from({ length: columns }, (_, i) => Math.min(...cells.map((cell) => valuesOf(cell)[i])));
  const base = baseline === DENSE ? data.dense : cells.find(({ method }) => method === baseline);
  const kept = cells.length > 0 ? `, ${formatPercent(cells[0].keptTotal)} of the model` : "";
  const head = element("th", { className: "group", scope: "rowgroup", colSpan: columns + 1 }, `keep ${keep}${kept}`);
  const rows = cells.map((cell) => {
    const isBest = (value, i) => value === best[i] && cells.length > 1;
    const ratio = (value, i) => (base && base !== cell ? value / valuesOf(base)[i] : undefined);
    return tableRow(cell.method, ...valuesOf(cell).map((value, i) => valueCell(value, isBest(value, i), ratio(value, i))));
  });
  return [element("tr", {}, head), ...rows];
}

function valueCell(value, isBest, ratio) {
  const shown = element("span", { className: isBest ? "best" : "" }, formatPerplexity(value));
  if (isBest) shown.append(element("span", { className: "hidden-text" }, " best"));
  if (ratio === undefined) return element("td", {}, shown);
  const change = formatChange(ratio);
  const direction = change.startsWith("\u00b1") ? "" : ratio < 1 ? "better" : "worse";
  return element("td", {}, shown, element("span", { className: `change ${direction}` }, change));
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
