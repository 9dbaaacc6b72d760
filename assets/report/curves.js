/** Perplexity against keep, one line a method, for the text chosen. */
import { drawChart, seeAll, zoom } from "./chart.js";
import { byId, DENSE, data, element, formatPerplexity, paintSwatches, styleOf, swatchOf } from "./dom.js";

const AVERAGE = data.texts.length;

const keeps = [...new Set(data.cells.map(({ keep }) => keep))].sort((a, b) => a - b);
const hidden = new Set();
let text = 0;
let chart;

export function startCurves() {
  const names = data.texts.length > 1 ? [...data.texts.map(({ text }) => text), "average"] : data.texts.map(({ text }) => text);
  byId("chart-text").append(...names.map(textChoice));
  byId("chart-series").append(...[...data.methods, DENSE].map(lineChoice));
  byId("chart-zoom").append(
    element("button", { type: "button", onclick: () => zoom(chart, 0.5) }, "Zoom in"),
    element("button", { type: "button", onclick: () => zoom(chart, 2) }, "Zoom out"),
    element("button", { type: "button", onclick: () => seeAll(chart) }, "See all"),
  );
  drawCurves();
}

function textChoice(name, index) {
  const change = () => {
    text = index;
    drawCurves();
  };
  const input = element("input", { type: "radio", name: "text", checked: index === text, onchange: change });
  return element("label", {}, input, name);
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

const perplexityIn = (row) => (text === AVERAGE ? row.average : row.perplexities[text]);

function perplexityOf(method, keep) {
  const row = method === DENSE ? data.dense : data.cells.find((cell) => cell.method === method && cell.keep === keep);
  return row ? perplexityIn(row) : null;
}

/** Draws anew, in the colours of the theme in use. */
export function drawCurves() {
  const host = byId("chart-plot");
  chart?.destroy();
  const lines = lineNames().map((method) => {
    return {
      label: method,
      ...styleOf(method),
      values: keeps.map((keep) => perplexityOf(method, keep)),
      shown: !hidden.has(method),
    };
  });
  const name = text === AVERAGE ? "all texts, averaged" : data.texts[text].text;
  host.setAttribute("aria-label", `Perplexity on ${name} against keep, by method; the table below has the numbers`);
  const describe = (index) =>
    `keep ${keeps[index]}: ${lines
      .filter(({ shown }) => shown)
      .map(({ label, values }) => `${label} ${formatPerplexity(values[index] ?? Number.NaN)}`)
      .join(", ")}`;
  chart = drawChart(host, {
    ...{ x: keeps, xTitle: "fraction of the projections' parameters kept", yTitle: "perplexity", isLog: true },
    ...{ format: tick, lines, readout: "chart-readout", describe },
  });
  paintSwatches();
}

const tick = (value) => (value >= 1e5 ? value.toExponential(0) : Number(value.toPrecision(4)).toLocaleString("en"));
