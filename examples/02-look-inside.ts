/**
 * Which blocks lose most? Plans a compression, then reads the report of each projection. Run it in a built clone:
 *   node examples/02-look-inside.ts MODEL TEXT OUT
 */
import { compress, type ProjectionReport, plan } from "rankfold";

const [model = "assets/pequod-5m", text = "text.txt", out = "small"] = process.argv.slice(2);
const options = { model, out, keep: 0.6, method: "rom", calibration: text, samples: 16, window: 128 };

const planned = await plan(options);
console.log(`${planned.projections.filter(({ rank }) => rank !== null).length} projections will be factored`);

const { projections } = await compress(options);
const lost = ({ retainedEnergy }: ProjectionReport) => 1 - (retainedEnergy ?? 1);
const worst = [...projections].sort((a, b) => lost(b) - lost(a)).slice(0, 3);
for (const projection of worst) {
  console.log(
    `${projection.name}: rank ${projection.rank} loses ${(100 * lost(projection)).toFixed(2)} % of the output's energy`,
  );
}
