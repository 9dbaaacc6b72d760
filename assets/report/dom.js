/** Elements, numbers as text, and the data of the page. */

export const data = JSON.parse(document.getElementById("data").textContent);

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; strings become text, never markup. */
export function element(name, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const made = Object.assign(document.createElement(name), rest);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** A table of a caption, a row of heads and bodies of rows; a row's first cell is its head. */
export function fillTable(table, caption, heads, ...bodies) {
  const head = element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text))));
  const filled = bodies.map((rows) => element("tbody", {}, ...rows));
  table.replaceChildren(element("caption", {}, caption), head, ...filled);
}

/** A row: its head, then its cells, which may be elements. */
export function tableRow(head, ...cells) {
  const made = cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : element("td", {}, cell)));
  return element("tr", {}, element("th", { scope: "row" }, head), ...made);
}

/** Fills a select with [value, text] pairs and calls `change` with the value chosen. */
export function fillSelect(select, options, change) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", () => change(select.value));
}

/** Three digits or more: 5.68, 34.6, 1 234, 2.1e7. */
export function formatPerplexity(value) {
  if (!Number.isFinite(value)) return "-";
  if (value >= 1e6) return value.toExponential(2);
  return value < 1000 ? value.toFixed(2) : Math.round(value).toLocaleString("en");
}

export const formatMeasure = (kind, value) => {
  if (kind === "perplexity") return formatPerplexity(value);
  return Number.isFinite(value) ? (100 * value).toFixed(1) : "-";
};

export const formatPercent = (fraction) => `${(100 * fraction).toFixed(1)} %`;

/** With its sign: -12.3 %, and large ones as factors. */
export function formatChange(ratio) {
  if (ratio >= 10) return `x ${ratio.toPrecision(3)}`;
  const percent = Math.abs(100 * (ratio - 1)).toFixed(1);
  const sign = percent === "0.0" ? "\u00b1" : ratio > 1 ? "+" : "\u2212";
  return `${sign}${percent} %`;
}

/** The difference of two accuracies, in points. */
export function formatPoints(difference) {
  const points = Math.abs(100 * difference).toFixed(1);
  const sign = points === "0.0" ? "\u00b1" : difference > 0 ? "+" : "\u2212";
  return `${sign}${points}`;
}

/** A colour of the theme in use. */
export const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The dense model, among the names of methods. */
export const DENSE = "dense";

/** How a method looks in every chart. */
export function styleOf(method) {
  if (method === DENSE) return { colour: themed("--text"), dash: [4, 6], swatch: "dotted" };
  const colours = themed("--series").split(",");
  const index = data.methods.indexOf(method);
  // Neighbours differ in dash too: curves that lie on one another stay visible, and colour is not all that tells them apart.
  const kind = index % 3;
  return {
    colour: colours[index % colours.length].trim(),
    dash: [[], [8, 4], [2, 4]][kind],
    swatch: ["", "dashed", "dotted"][kind],
  };
}

/** A piece of a method's line, for legends; `paintSwatches` gives it its colour. */
export function swatchOf(method) {
  return element("span", { className: "swatch", dataset: { method }, ariaHidden: "true" });
}

/** Gives all legends the colours of the theme in use. */
export function paintSwatches() {
  for (const made of document.querySelectorAll(".swatch")) {
    const { colour, swatch } = styleOf(made.dataset.method);
    made.className = `swatch ${swatch}`;
    made.style.borderTopColor = colour;
  }
}
