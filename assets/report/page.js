/** Starts the page's parts, and draws the charts anew when the theme changes. */
import { drawCurves, startCurves } from "./curves.js";
import { drawMap, drawSpectrum, startEnergy } from "./energy.js";
import { startTables } from "./tables.js";

startTables();
startCurves();
startEnergy();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawCurves();
  drawMap();
  drawSpectrum();
});
