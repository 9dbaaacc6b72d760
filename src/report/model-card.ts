/** README.md of a compressed model: what it is, what it cost, how to load it. */

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
}

export function renderModelCard(facts: CardFacts, { parametersBefore }: { readonly parametersBefore: number }): string {
  const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;
  const { options } = facts;
  const sources = [options.calibration]
    .flat()
    .map((source) => `\`${source}\``)
    .join(", ");
  const calibration =
    facts.calibrationSha256 === null
      ? "None; the method is data-free."
      : `${options.samples} windows of ${options.window} tokens of ${sources} (SHA-256 \`${facts.calibrationSha256}\`).`;
  return `---
library_name: transformers
tags: [rankfold, low-rank, compressed]
---

# ${facts.model}, compressed by rankfold

| | |
| --- | --- |
| method | \`${facts.method}\`, allocation \`${options.allocate}\` |
| parameters | ${facts.parameters.toLocaleString("en")} of ${parametersBefore.toLocaleString("en")} (${percent(facts.keptTotal)}) |
| kept in the blocks' projections | ${percent(facts.keptProjections)} (asked for ${percent(facts.keep)}) |
| weights | ${(facts.bytes / 1e6).toFixed(1)} MB |
| made by | rankfold ${facts.version} |

Calibration: ${calibration}

Some linear layers W (m x n) are stored as two thin ones, \`left\` (m x k) and \`right\` (k x n), so that
W x is computed as left (right x). \`rankfold.json\` says which, with the rank and the error of each.

## Load it

\`\`\`
rankfold generate . --prompt "Once upon a time"
\`\`\`

\`\`\`python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(".")
\`\`\`

The folder is self-contained: \`modeling_rankfold.py\` is the only code, and needs torch and transformers alone.
`;
}
