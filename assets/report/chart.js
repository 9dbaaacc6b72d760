/** Line charts over uPlot: theme, size, ticks, zoom. */
import { byId, themed } from "./dom.js";

const HEIGHT = 340;
const SMALL = 480;

/**
 * Draws lines into an element and gives the chart.
 * options: x (numbers), xTitle, yTitle, isLog, format(y), lines [{ label, colour, dash, values, shown }], marks [{ x, label }],
 * readout (id), describe(index).
 */
export function drawChart(host, options) {
  const chart = new uPlot(chartOptions(host, options), [options.x, ...options.lines.map(({ values }) => values)], host);
  watchSize(host, chart);
  return chart;
}

function chartOptions(host, options) {
  const { x, lines, isLog, readout, describe, marks = [] } = options;
  const padding = (x[x.length - 1] - x[0]) * 0.04 || 0.05;
  return {
    width: host.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: true, y: true, uni: 30 }, points: { size: 9 } },
    scales: {
      x: { time: false, range: (_, low, high) => [low - padding, high + padding] },
      y: { distr: isLog ? 3 : 1, range: (_, low, high) => rangeOf(low, high, isLog) },
    },
    axes: [axisOf(host, options.xTitle), { ...axisOf(host, options.yTitle), ...valueAxis(options) }],
    series: [{}, ...lines.map(lineOf)],
    hooks: {
      draw: [(chart) => drawMarks(chart, marks)],
      setCursor: [({ cursor: { idx } }) => idx != null && byId(readout).replaceChildren(describe(idx))],
    },
  };
}

function lineOf({ label, colour, dash, values, shown = true }) {
  const points = { show: values.length < 20, size: 7, fill: colour };
  return { label, stroke: colour, width: 2, dash, show: shown, spanGaps: true, points };
}

function rangeOf(low, high, isLog) {
  if (low == null || high == null) return isLog ? [1, 100] : [0, 1];
  if (isLog) return [low / 1.08, high * 1.08];
  return [0, 1.02];
}

function axisOf(host, title) {
  const grid = { stroke: themed("--line"), width: 1 };
  const font = "13px system-ui, sans-serif";
  const label = host.clientWidth < SMALL ? {} : { label: title, labelFont: font, labelSize: 22 };
  return { stroke: themed("--quiet"), font, grid, ticks: grid, ...label };
}

function valueAxis({ isLog, format }) {
  const values = (_, splits) => splits.map((value) => (value == null ? "" : format(value)));
  return {
    size: 62,
    values,
    filter: (_, splits) => splits,
    ...(isLog ? { splits: (_chart, _axis, low, high) => logTicks(low, high) } : {}),
  };
}

/** 1, 2, 5 of every decade; within less than one, even steps. */
function logTicks(low, high) {
  if (high / low < 8) return evenTicks(low, high);
  const ticks = [];
  const factors = high / low > 1e4 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const factor of factors) ticks.push(factor * 10 ** power);
  return ticks.filter((tick) => tick >= low && tick <= high);
}

function evenTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** Dashed upright lines with a label at their top. */
function drawMarks({ ctx, bbox, valToPos }, marks) {
  const pixels = window.devicePixelRatio || 1;
  ctx.save();
  ctx.strokeStyle = themed("--quiet");
  ctx.fillStyle = themed("--quiet");
  ctx.font = `${12 * pixels}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.setLineDash([3 * pixels, 4 * pixels]);
  for (const [i, { x, label }] of marks.entries()) {
    const left = valToPos(x, "x", true);
    if (left < bbox.left || left > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(label, left + 3 * pixels, bbox.top + bbox.height - (6 + (i % 2) * 16) * pixels);
  }
  ctx.restore();
}

const observers = new WeakMap();

function watchSize(host, chart) {
  observers.get(host)?.disconnect();
  const observer = new ResizeObserver(
    () => chart.width !== host.clientWidth && chart.setSize({ width: host.clientWidth, height: HEIGHT }),
  );
  observer.observe(host);
  observers.set(host, observer);
}

/** Zooms about the middle of what is seen: a factor below 1 comes closer. */
export function zoom(chart, factor) {
  const { min, max } = chart.scales.x;
  const [middle, half] = [(min + max) / 2, ((max - min) / 2) * factor];
  chart.setScale("x", { min: middle - half, max: middle + half });
}

export function seeAll(chart) {
  chart.setData(chart.data, true);
}
