import { expect, test } from "vitest";
import { renderFacts, renderTable, right } from "./table.ts";
import { formatBytes, formatCount, formatPercent, formatPerplexity, formatSeconds } from "./units.ts";

test("renderTable() aligns text to the left and numbers to the right", () => {
  const rows = [
    ["q_proj", "256"],
    ["gate_proj", "8"],
  ];
  expect(renderTable([{ title: "name" }, right("rank")], rows)).toBe(
    ["name       rank", "---------  ----", "q_proj      256", "gate_proj     8", ""].join("\n"),
  );
});

test("renderTable() leaves no blanks at the end of a line, and fills missing cells", () => {
  expect(renderTable([{ title: "a" }, { title: "long" }], [["x"]])).toBe("a  long\n-  ----\nx\n");
});

test("renderTable() of no rows is its header", () => {
  expect(renderTable([{ title: "a" }], [])).toBe("a\n-\n");
});

test("renderFacts() pads the names", () => {
  expect(
    renderFacts([
      ["bytes", "1"],
      ["parameters", "2"],
    ]),
  ).toBe("bytes       1\nparameters  2\n");
});

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.00 KiB"],
  [10957216, "10.4 MiB"],
  [8 * 1024 ** 3, "8.00 GiB"],
  [150 * 1024 ** 3, "150 GiB"],
])("formatBytes(%d) is %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [9999, "9999"],
  [12_345, "12.3 K"],
  [5_475_584, "5.48 M"],
  [134_515_008, "135 M"],
  [6_738_415_616, "6.74 B"],
])("formatCount(%d) is %s", (count, text) => {
  expect(formatCount(count)).toBe(text);
});

test.each([
  [0.04, "0.0 s"],
  [9.94, "9.9 s"],
  [9.96, "10 s"],
  [59.6, "1 min 0 s"],
  [200, "3 min 20 s"],
  [3900, "1 h 5 min"],
])("formatSeconds(%d) is %s", (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});

test("fractions and perplexities", () => {
  expect(formatPercent(0.8)).toBe("80.0 %");
  expect(formatPerplexity(23.476)).toBe("23.48");
  expect(formatPerplexity(2.5e9)).toBe("2.50e+9");
});
