/**
 * How near `auto`'s second-order divergences come to those of the whole model: what both measured of the same modules at the same
 * sizes, from the journals that two plans leave beside one folder of statistics.
 *
 *   rankfold compress MODEL -o none --statistics STATS --method kfac --allocate auto --keep 0.6 --dry-run
 *   rankfold compress MODEL -o none --statistics STATS --method kfac --allocate kl --keep 0.6 --dry-run
 *   node bench/estimates.mjs STATS
 *
 * Prints, by kind of module, the geometric mean of one journal's divergence over the other's and the spread of its logarithm.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { need, table } from "./common.mjs";

const folder = need(process.argv[2], "node bench/estimates.mjs STATS");
const journals = readdirSync(folder).filter((name) => name.startsWith("measurements-"));
if (journals.length !== 2) need(undefined, `two journals in ${folder}, got ${journals.length}`);

/** Divergences by `module@size`. */
function divergences(name) {
  const lines = readFileSync(join(folder, name), "utf8").trim().split("\n").map(JSON.parse);
  return new Map(lines.filter(({ at }) => at !== undefined).map(({ module, at, divergence }) => [`${module}@${at}`, divergence]));
}

const [first, second] = journals.map(divergences);
const byKind = new Map();
for (const [key, divergence] of first) {
  const other = second.get(key);
  if (!other || !divergence) continue;
  const kind = key.slice(key.lastIndexOf(".") + 1);
  byKind.set(kind, [...(byKind.get(kind) ?? []), Math.log(divergence / other)]);
}
const rows = [...byKind].map(([kind, logarithms]) => {
  const mean = logarithms.reduce((a, b) => a + b, 0) / logarithms.length;
  const variance = logarithms.reduce((sum, x) => sum + (x - mean) ** 2, 0) / logarithms.length;
  return [kind, logarithms.length, Math.exp(mean).toFixed(2), Math.sqrt(variance).toFixed(2)];
});
console.log(table(["module@size", "modules", `${journals[0]} / ${journals[1]}`, "spread"], rows));
