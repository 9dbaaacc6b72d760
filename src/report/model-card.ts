/** README.md of a compressed model: what it is, what it cost, how to load it. */
import type { Gain } from "../allocate/gain.ts";

export interface CardFacts {
  readonly model: string;
  readonly method: string;
  readonly keep: number;
  readonly keptProjections: number;
  readonly keptTotal: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly version: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly calibrationSha256: string | null;
  /** Why this method and this allocation. */
  readonly recipe: string;
  /** By kind of module. */
  readonly gains: readonly Gain[];
  /** Only where the weights were trained afterwards. */
  readonly refinement?: {
    readonly level: string;
    readonly bestStep: number;
    readonly divergence: { readonly before: number; readonly after: number };
  };
}

export function renderModelCard(facts: CardFacts, { parametersBefore }: { readonly parametersBefore: number }): string {
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  const { options } = facts;
  return `---
library_name: transformers
tags: [rankfold, low-rank, compressed]${baseModel(facts.model)}
---

# ${facts.model}, compressed by rankfold

| | |
| --- | --- |
| method | \`${facts.method}\`, allocation \`${options.allocate}\` |
| recipe | ${facts.recipe} |
| parameters | ${facts.parameters.toLocaleString("en")} of ${parametersBefore.toLocaleString("en")} (${percent(facts.keptTotal)}) |
| kept in the blocks' projections | ${percent(facts.keptProjections)} (asked for ${percent(facts.keep)}) |
| weights | ${(facts.bytes / 1e6).toFixed(1)} MB |
| made by | rankfold ${facts.version} |${refined(facts)}

Calibration: ${calibrated(facts)}

Some linear layers W (m x n) are stored as two thin ones, \`left\` (m x k) and \`right\` (k x n), so that
W x is computed as left (right x). \`rankfold.json\` says which, with the rank and the error of each.
${renderGains(facts.gains)}
${MEASURED.begin}
${MEASURED.end}

## Load it

With rankfold:

\`\`\`
rankfold generate . --prompt "Once upon a time"
rankfold evaluate . --text FILE --card    # writes what it measures into this file
\`\`\`

With transformers:

\`\`\`python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # or the name of its repository
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
\`\`\`

The folder is self-contained: \`modeling_rankfold.py\` is the only code, and needs torch and transformers alone.

For transformers.js and onnxruntime, \`rankfold export . --to onnx -o FOLDER\` writes an ONNX folder; for programs that know
only the original architecture, \`--to dense\` multiplies the factors back.
`;
}

function calibrated({ options, calibrationSha256 }: CardFacts): string {
  if (calibrationSha256 === null) return "None; the method is data-free.";
  const { samples, window, calibration = [], randomTokens = 0 } = options;
  const sources = [calibration].flat().map((source) => `\`${source}\``);
  const random = Math.round(Number(samples) * Number(randomTokens));
  const beside = random > 0 ? `, and ${random} of random tokens` : "";
  return `${samples} windows of ${window} tokens of ${sources.join(", ") || "stored statistics"} (SHA-256 \`${calibrationSha256}\`)${beside}.`;
}

/** What each kind of module gave up. */
function renderGains(gains: readonly Gain[]): string {
  if (gains.length === 0) return "";
  const rows = gains.map(({ kind, becomes, modules, parametersSaved, divergence }) => {
    const cost = divergence === null ? "not measured" : divergence.toFixed(4);
    return `| ${kind} | ${modules} | ${becomes} | ${parametersSaved.toLocaleString("en")} | ${cost} |`;
  });
  return `
The divergence is the KL to the dense model's predictions in nats a token, as predicted from each module replaced alone, summed.

| kind | modules | become | parameters saved | predicted divergence |
| --- | --- | --- | --- | --- |
${rows.join("\n")}
`;
}

/** A row for training after the compression. */
function refined({ refinement }: CardFacts): string {
  if (!refinement) return "";
  const { level, bestStep, divergence } = refinement;
  const change = `${divergence.before.toFixed(4)} to ${divergence.after.toFixed(4)} nats a token`;
  return `\n| refined | \`${level}\`, ${bestStep} steps; divergence from the dense model on held-back text ${change} |`;
}

/** Between them stands what `evaluate --card` measured. */
const MEASURED = { begin: "<!-- rankfold: measured -->", end: "<!-- rankfold: end of measured -->" };

export interface MeasuredFacts {
  readonly texts: readonly {
    readonly file: string;
    readonly tokens: number;
    readonly windows: number;
    readonly window: number;
    readonly perplexity: number;
  }[];
  readonly tasks: readonly { readonly file: string; readonly task: string; readonly rows: number; readonly acc: number }[];
  readonly version: string;
}

/** The card with these figures in place of those it had; files by their names alone. */
export function withMeasured(card: string, facts: MeasuredFacts): string {
  const section = `${MEASURED.begin}\n${renderMeasured(facts)}${MEASURED.end}`;
  const [begin, end] = [card.indexOf(MEASURED.begin), card.indexOf(MEASURED.end)];
  if (begin < 0 || end < begin) return `${card.trimEnd()}\n\n${section}\n`;
  return card.slice(0, begin) + section + card.slice(end + MEASURED.end.length);
}

function renderMeasured({ texts, tasks, version }: MeasuredFacts): string {
  const nameOf = (file: string) => file.replace(/^.*[/\\]/, "");
  const perplexities = texts.map(
    ({ file, tokens, windows, window, perplexity }) =>
      `| ${nameOf(file)} | ${tokens} | ${windows} x ${window} tokens | ${perplexity.toFixed(2)} |`,
  );
  const accuracies = tasks.map(
    ({ file, task, rows, acc }) =>
      `| ${task === "multiple_choice" ? nameOf(file) : task} | ${rows} | ${(100 * acc).toFixed(2)} % |`,
  );
  return [
    `## Measured\n\nBy rankfold ${version}; perplexity a token over windows that follow one another, the rest dropped.\n`,
    ...(texts.length > 0 ? ["| text | tokens | windows | perplexity |", "| --- | --- | --- | --- |", ...perplexities, ""] : []),
    ...(tasks.length > 0 ? ["| task, zero-shot | rows | accuracy |", "| --- | --- | --- |", ...accuracies, ""] : []),
  ].join("\n");
}

/** The hub shows what a model was made from. */
function baseModel(source: string): string {
  const repo = /^([\w.-]+\/[\w.-]+)@[0-9a-f]{40}$/.exec(source)?.[1];
  return repo === undefined ? "" : `\nbase_model: ${repo}`;
}
