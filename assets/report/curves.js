/** Perplexity or accuracy against keep, one line a method, for the text or task chosen. */
import { drawChart, seeAll, zoom } from "./chart.js";
import { byId, DENSE, data, element, formatMeasure, paintSwatches, styleOf, swatchOf } from "./dom.js";

const keeps = [...new Set(data.cells.map(({ keep }) => keep))].sort((a, b) => a - b);
const hidden = new Set();
/** Number of the measure that is shown. */
let shown = 0;
let chart;

export function startCurves() {
  byId("chart-text").append(...data.measures.map(measureChoice));
  byId("chart-series").append(...[...data.methods, DENSE].map(lineChoice));
  byId("chart-zoom").append(
    element("button", { type: "button", onclick: () => zoom(chart, 0.5) }, "Zoom in"),
    element("button", { type: "button", onclick: () => zoom(chart, 2) }, "Zoom out"),
    element("button", { type: "button", onclick: () => seeAll(chart) }, "See all"),
  );
  drawCurves();
}

function measureChoice({ name, kind }, index) {
  const change = () => {
    shown = index;
    drawCurves();
  };
  const input = element("input", { type: "radio", name: "measure", checked: index === shown, onchange: change });
  const isShared = data.measures.some((other, i) => other.name === name && i !== index);
  return element("label", {}, input, isShared ? `${name} ${kind}` : name);
}

function lineChoice(method) {
  const change = ({ target }) => {
    if (target.checked) hidden.delete(method);
    else hidden.add(method);
    chart.setSeries(lineNames().indexOf(method) + 1, { show: target.checked });
  };
  const input = element("input", { type: "checkbox", checked: true, onchange: change });
  return element("label", {}, input, swatchOf(method), method);
}

const lineNames = () => [...data.methods, DENSE];

function measuredOf(method, keep) {
  const row = method === DENSE ? data.dense : data.cells.find((cell) => cell.method === method && cell.keep === keep);
  return row ? row.values[shown] : null;
}

/** Draws anew, in the colours of the theme in use. */
export function drawCurves() {
  const host = byId("chart-plot");
  chart?.destroy();
  const lines = lineNames().map((method) => {
    return {
      label: method,
      ...styleOf(method),
      values: keeps.map((keep) => measuredOf(method, keep)),
      shown: !hidden.has(method),
    };
  });
  const { name, kind } = data.measures[shown];
  const title = kind === "accuracy" ? "Accuracy" : "Perplexity";
  host.setAttribute("aria-label", `${title} on ${name} against keep, by method; the table below has the numbers`);
  const describe = (index) =>
    `keep ${keeps[index]}: ${lines
      .filter((line) => line.shown)
      .map(({ label, values }) => `${label} ${formatMeasure(kind, values[index] ?? Number.NaN)}`)
      .join(", ")}`;
  chart = drawChart(host, {
    ...{ x: keeps, xTitle: "fraction of the projections' parameters kept", yTitle: kind, isLog: kind === "perplexity" },
    ...{
      format: kind === "accuracy" ? (value) => `${Math.round(100 * value)} %` : tick,
      lines,
      readout: "chart-readout",
      describe,
    },
  });
  paintSwatches();
}

const tick = (value) => (value >= 1e5 ? value.toExponential(0) : Number(value.toPrecision(4)).toLocaleString("en"));
