/** Perplexities by keep, method and text, with the change against a baseline; sizes, times and the protocol. */
import { byId, data, element, fillSelect, fillTable, formatChange, formatPercent, formatPerplexity, tableRow } from "./dom.js";

const DENSE_ROW = "dense";
const groups = [...new Set(data.cells.map(({ keep }) => keep))].sort((a, b) => b - a);
const columns = data.texts.length > 1 ? data.texts.length + 1 : data.texts.length;

const cellsOf = (keep) => data.methods.flatMap((method) => data.cells.find((cell) => cell.method === method && cell.keep === keep) ?? []);
const valuesOf = (row) => (columns > data.texts.length ? [...row.perplexities, row.average] : row.perplexities);

export function startTables() {
  const baselines = [DENSE_ROW, ...data.methods].map((name) => [name, name === DENSE_ROW ? "the dense model" : name]);
  fillSelect(byId("table-baseline"), [["", "nothing"], ...baselines], drawTable);
  byId("table-baseline").value = data.methods.length > 1 ? data.methods[0] : DENSE_ROW;
  drawTable(byId("table-baseline").value);
  drawCosts();
  drawProtocol();
}

function drawTable(baseline) {
  const heads = ["", ...data.texts.map(({ text }) => text), ...(columns > data.texts.length ? ["average"] : [])];
  const dense = tableRow(DENSE_ROW, ...valuesOf(data.dense).map(formatPerplexity));
  const bodies = groups.map((keep) => groupRows(keep, baseline));
  fillTable(byId("table-body"), "Perplexity, lower is better", heads, [dense], ...bodies);
}

function groupRows(keep, baseline) {
  const cells = cellsOf(keep);
  const best = Array.from({ length: columns }, (_, i) => Math.min(...cells.map((cell) => valuesOf(cell)[i])));
  const base = baseline === DENSE_ROW ? data.dense : cells.find(({ method }) => method === baseline);
  const kept = cells.length > 0 ? `, ${formatPercent(cells[0].keptTotal)} of the model` : "";
  const head = element("th", { className: "group", scope: "rowgroup", colSpan: columns + 1 }, `keep ${keep}${kept}`);
  const rows = cells.map((cell) => tableRow(cell.method, ...valuesOf(cell).map((value, i) => valueCell(value, value === best[i] && cells.length > 1, base && base !== cell ? value / valuesOf(base)[i] : undefined))));
  return [element("tr", {}, head), ...rows];
}

function valueCell(value, isBest, ratio) {
  const shown = element("span", { className: isBest ? "best" : "" }, formatPerplexity(value));
  if (isBest) shown.append(element("span", { className: "hidden-text" }, " best"));
  if (ratio === undefined) return element("td", {}, shown);
  const direction = ratio < 1 ? "better" : ratio > 1 ? "worse" : "";
  return element("td", {}, shown, element("span", { className: `change ${direction}` }, formatChange(ratio)));
}

function drawCosts() {
  const heads = ["", "parameters", "weights", "of the model", "of the projections", "time"];
  const dense = tableRow(DENSE_ROW, data.dense.size, data.dense.weights, "100.0 %", "100.0 %", data.dense.time);
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
  const rows = data.texts.map(({ text, use, tokens, windows, sha256 }) => tableRow(text, use, tokens, windows, hashCell(sha256)));
  const calibration = data.calibration.map(({ text, use, tokens, windows, sha256 }) => tableRow(text, use, tokens, windows, hashCell(sha256)));
  fillTable(byId("texts"), "Tokens of the whole text, and the windows that were used", ["text", "for", "tokens", "windows", "SHA-256"], [...rows, ...calibration]);
}

const hashCell = (sha256) => element("td", {}, element("span", { className: "hash" }, sha256));
