/**
 * Compresses a model and says what it cost. Run it in a built clone:
 *   node examples/01-compress.ts MODEL TEXT OUT      (Node 22.18 or later reads TypeScript)
 */
import { compress, evaluate } from "rankfold";

const [model = "assets/pequod-5m", text = "text.txt", out = "small"] = process.argv.slice(2);

const made = await compress(
  { model, out, keep: 0.8, method: "svd-llm", calibration: text, samples: 16, window: 128 },
  { onProgress: ({ stage, done, total, unit }) => console.error(`${stage} ${unit} ${done}/${total}`) },
);
console.log(
  `kept ${(100 * made.keptTotal).toFixed(1)} % of the model: ${made.parameters} parameters in ${made.seconds.toFixed(1)} s`,
);

for (const path of [model, out]) {
  const { texts } = await evaluate({ model: path, texts: [text], window: 128, maxWindows: 8 });
  console.log(`${path}: perplexity ${texts[0]?.perplexity.toFixed(2)}`);
}
