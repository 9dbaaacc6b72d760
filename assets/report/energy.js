/** Retained energy, ranks and errors over blocks and projections, and the spectrum of one of them. */
import { drawChart } from "./chart.js";
import {
  byId,
  data,
  element,
  fillSelect,
  fillTable,
  formatPercent,
  paintSwatches,
  styleOf,
  swatchOf,
  tableRow,
  themed,
} from "./dom.js";

/** What the map can show: value of a cell, its text, and where the colour scale ends. */
const VALUES = {
  energy: {
    title: "retained energy",
    format: (value) => (100 * value).toFixed(1),
    note: "Percent of ||W X||\u00b2 on the calibration inputs that the factors keep.",
  },
  rank: { title: "rank", format: String, note: "Inner dimension of the factors." },
  error: { title: "weight error", format: (value) => value.toFixed(3), note: "||W \u2212 W'|| / ||W||, in the Frobenius norm." },
};

const chosen = { method: data.methods[0], keep: 0, value: "energy", block: 0, projection: 0 };
let spectrum;

export function startEnergy() {
  const hasEnergy = data.cells.some(({ energy }) => energy.flat().some((value) => value !== null));
  chosen.value = hasEnergy ? "energy" : "error";
  const keeps = [...new Set(data.cells.map(({ keep }) => keep))].sort((a, b) => b - a);
  chosen.keep = keeps.includes(0.8) ? 0.8 : keeps[0];
  const kinds = Object.entries(VALUES).filter(([kind]) => hasEnergy || kind !== "energy");
  const numbered = (names) => names.map((name, i) => [String(i), name]);
  choice(
    "energy-method",
    data.methods.map((name) => [name, name]),
    "method",
    drawMap,
  );
  choice(
    "energy-keep",
    keeps.map((keep) => [String(keep), String(keep)]),
    "keep",
    drawMap,
  );
  choice(
    "energy-value",
    kinds.map(([kind, { title }]) => [kind, title]),
    "value",
    drawMap,
  );
  choice("spectrum-block", numbered(Array.from({ length: data.blocks }, (_, i) => String(i))), "block", drawSpectrum);
  choice("spectrum-projection", numbered(data.projections), "projection", drawSpectrum);
  byId("energy-map").addEventListener("click", chooseCell);
  drawMap();
  drawSpectrum();
}

function choice(id, options, key, redraw) {
  fillSelect(byId(id), options, (value) => {
    chosen[key] = typeof chosen[key] === "number" ? Number(value) : value;
    redraw();
    markChosen();
  });
  byId(id).value = String(chosen[key]);
}

function chooseCell({ target }) {
  const cell = target.closest("td[data-block]");
  if (!cell) return;
  chosen.block = Number(cell.dataset.block);
  chosen.projection = Number(cell.dataset.projection);
  byId("spectrum-block").value = String(chosen.block);
  byId("spectrum-projection").value = String(chosen.projection);
  drawSpectrum();
  markChosen();
}

function markChosen() {
  for (const cell of byId("energy-map").querySelectorAll("td[data-block]"))
    cell.classList.toggle(
      "chosen",
      Number(cell.dataset.block) === chosen.block && Number(cell.dataset.projection) === chosen.projection,
    );
}

export function drawMap() {
  const { title, note } = VALUES[chosen.value];
  const cell = data.cells.find(({ method, keep }) => method === chosen.method && keep === chosen.keep);
  const values = cell?.[chosen.value] ?? [];
  const known = values.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const shade = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  const rows = values.map((row, block) =>
    tableRow(String(block), ...row.map((value, projection) => mapCell(value, shade, block, projection))),
  );
  const caption = `${title[0].toUpperCase()}${title.slice(1)} of ${chosen.method} at keep ${chosen.keep}, by block and projection`;
  fillTable(byId("energy-map"), caption, ["block", ...data.projections.map(shortName)], rows);
  byId("energy-note").textContent =
    `${note} Click a cell for its spectrum, or choose below. A dash: the projection stayed dense.`;
  markChosen();
}

function mapCell(value, shade, block, projection) {
  const cell = element("td", { dataset: { block, projection } }, value === null ? "\u2013" : VALUES[chosen.value].format(value));
  if (value !== null) paint(cell, shade(value));
  return cell;
}

/** A colour between the ends of the scale, and black or white upon it, whichever reads better. */
function paint(cell, share) {
  const [low, high] = ["--heat-low", "--heat-high"].map((name) => themed(name).split(",").map(Number));
  const colour = low.map((value, i) => Math.round(value + share * (high[i] - value)));
  cell.style.backgroundColor = `rgb(${colour.join()})`;
  cell.style.color = luminance(colour) > 0.18 ? "#000000" : "#ffffff";
}

/** Relative luminance (WCAG 2). */
function luminance(colour) {
  const [red, green, blue] = colour
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const shortName = (name) => name.replace(/^.*\./, "").replace(/_proj$/, "");

export function drawSpectrum() {
  const host = byId("spectrum-plot");
  spectrum?.destroy();
  const { block, projection } = chosen;
  const curves = data.spectra.flatMap(({ method, curves }) =>
    curves[block]?.[projection] ? [{ method, ...curves[block][projection] }] : [],
  );
  const name = `block ${block}, ${data.projections[projection]}`;
  host.setAttribute("aria-label", `Share held by the first directions of ${name}, by method`);
  const rank = curves[0]?.rank ?? 1;
  const points = curves[0]?.retained.length ?? 2;
  const x = Array.from({ length: points }, (_, i) => Math.round((i * rank) / (points - 1)));
  const lines = curves.map(({ method, retained }) => ({ label: method, ...styleOf(method), values: retained }));
  const describe = (index) =>
    `${name}, rank ${x[index]} of ${rank}: ${lines.map(({ label, values }) => `${label} ${formatPercent(values[index])}`).join(", ")}`;
  byId("spectrum-legend").replaceChildren(...curves.map(({ method }) => element("span", {}, swatchOf(method), method)));
  paintSwatches();
  const options = { x, xTitle: "rank k", yTitle: "share held", isLog: false, format: (value) => `${Math.round(100 * value)} %` };
  spectrum = drawChart(host, { ...options, lines, marks: rankMarks(block, projection), readout: "spectrum-readout", describe });
}

/** The ranks that the keeps give this projection. */
function rankMarks(block, projection) {
  const marks = new Map();
  for (const { keep, rank } of data.cells) if (rank[block]?.[projection]) marks.set(rank[block][projection], `${keep}`);
  return [...marks].map(([x, label]) => ({ x, label }));
}
