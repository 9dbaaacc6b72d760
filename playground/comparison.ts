/** The same text read by both models: how their predictions of each next token differ. */
import type { Choice, Position } from "./distributions.ts";
import { byId, element, visible } from "./dom.ts";
import type { Pane } from "./pane.ts";
import type { Token } from "./protocol.ts";

/** Tokens that go through both models at once: their logits are in memory, t x v values. */
const PIECE = 16;
/** Nats; a text whose divergences all are below is not coloured as if they were large. */
const LEAST_SCALE = 0.05;

export class Comparison {
  private readonly panes: readonly [Pane, Pane];
  private tokens: readonly Token[] = [];
  /** Position i is what both expect after token i. */
  private positions: readonly Position[] = [];
  /** Counts the runs: a newer one ends those before. */
  private run = 0;

  constructor(panes: readonly [Pane, Pane]) {
    this.panes = panes;
    byId("comparison").hidden = false;
    byId("comparison-text").append(...panes.flatMap(({ model }, i) => textChoice(model.name, i, () => void this.show())));
    byId("strip").addEventListener("click", ({ target }) => this.select(placeOf(target)));
    byId("strip").addEventListener("keydown", (event) => this.walk(event));
  }

  clear(): void {
    this.run++;
    byId("comparison-body").hidden = true;
    byId("comparison-summary").textContent = "Once both have written, their predictions are compared here.";
  }

  /** Compares the models on the text chosen. */
  async show(): Promise<void> {
    const texts = this.panes.map(({ written }) => written);
    if (!texts[0] || !texts[1]) return;
    if (!isSame(texts[0].prompt, texts[1].prompt)) {
      byId("comparison-summary").textContent = "The models cut text into different tokens; only what they write can be compared.";
      return;
    }
    const { prompt, written } = texts[chosenText()] ?? texts[0];
    const tokens = [...prompt, ...written];
    const run = ++this.run;
    const positions = await this.measure(tokens, () => run === this.run);
    if (run !== this.run) return;
    this.tokens = tokens;
    this.positions = positions;
    this.draw(prompt.length, commonStart(texts[0].written, texts[1].written));
  }

  /** Both models over the text, a piece at a time. */
  private async measure(tokens: readonly Token[], isWanted: () => boolean): Promise<Position[]> {
    const [first, second] = this.panes;
    const positions: Position[] = [];
    for (let start = 0; start < tokens.length && isWanted(); start += PIECE) {
      byId("comparison-summary").textContent = `Comparing, ${start} of ${tokens.length} tokens`;
      const piece = { tokens: tokens.slice(start, start + PIECE).map(({ id }) => id), isFirst: start === 0 };
      const reference = await first.client.call("logits", piece);
      positions.push(...(await second.client.call("compare", piece, reference)));
    }
    return positions;
  }

  private draw(promptTokens: number, common: number): void {
    const strip = byId("strip");
    const scale = Math.max(LEAST_SCALE, ...this.positions.slice(0, -1).map(({ divergence }) => divergence));
    strip.replaceChildren(...this.tokens.map((token, i) => this.tokenView(token, i, scale)));
    byId("scale-end").textContent = `${scale.toFixed(2)} nats`;
    strip.children[promptTokens]?.classList.add("begin");
    byId("comparison-summary").replaceChildren(...this.summary(common));
    byId("comparison-body").hidden = false;
    this.select(this.mostTorn(), false);
  }

  private tokenView({ text }: Token, i: number, scale: number): HTMLElement {
    const before = this.positions[i - 1];
    const view = element("span", { className: "token", tabIndex: -1 }, text.replaceAll("\n", "\u23ce\n"));
    view.dataset.place = String(i);
    view.setAttribute("role", "option");
    view.setAttribute("aria-selected", "false");
    if (!before) return view;
    view.style.setProperty("--level", String(before.divergence / scale));
    view.title = `${before.divergence.toFixed(3)} nats`;
    view.classList.toggle("torn", isTorn(before));
    return view;
  }

  private summary(common: number): (Node | string)[] {
    const read = this.positions.slice(0, -1);
    const mean = read.reduce((sum, { divergence }) => sum + divergence, 0) / read.length;
    const agreed = read.filter((position) => !isTorn(position)).length / read.length;
    const strong = (text: string) => element("strong", {}, text);
    return [
      ...["Over ", strong(`${read.length} tokens`), " the predictions diverge by ", strong(`${mean.toFixed(3)} nats`)],
      ...[" on average (KL), and the first choices agree ", strong(`${(100 * agreed).toFixed(0)} %`), " of the time. "],
      common === 0
        ? "What they write differs from the first token on."
        : `What they write is the same for the first ${common === 1 ? "token" : `${common} tokens`}.`,
    ];
  }

  /** The token before which the predictions differ most. */
  private mostTorn(): number {
    const read = this.positions.slice(0, -1);
    return 1 + read.reduce((best, { divergence }, i) => (divergence > (read[best]?.divergence ?? 0) ? i : best), 0);
  }

  private walk(event: KeyboardEvent): void {
    const at = placeOf(document.activeElement) ?? 0;
    const last = this.tokens.length - 1;
    const to: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 1, End: last };
    const place = to[event.key];
    if (place === undefined) return;
    event.preventDefault();
    this.select(Math.max(1, Math.min(last, place)));
  }

  private select(place: number | undefined, takesFocus = true): void {
    const position = this.positions[(place ?? 0) - 1];
    if (place === undefined || !position) return;
    for (const view of byId("strip").children) {
      const isChosen = placeOf(view) === place;
      view.setAttribute("aria-selected", String(isChosen));
      (view as HTMLElement).tabIndex = isChosen ? 0 : -1;
      if (isChosen && takesFocus) (view as HTMLElement).focus();
    }
    byId("detail").replaceChildren(...this.detail(place, position));
  }

  private detail(place: number, { divergence, reference, other }: Position): HTMLElement[] {
    const token = this.tokens[place] as Token;
    const before = this.tokens.slice(Math.max(0, place - 8), place).map(({ text }) => text);
    const line = element(
      "p",
      {},
      ...["After \u201c", element("span", { className: "context" }, `${place > 8 ? "\u2026" : ""}${before.join("")}`)],
      ...[
        "\u201d the text goes on with ",
        element("code", {}, visible(token.text)),
        `. Divergence ${divergence.toFixed(3)} nats.`,
      ],
    );
    const lists = [reference, other].map((choices, i) => choiceList(this.panes[i]?.model.name ?? "", i, choices, token.id));
    return [line, element("div", { className: "choices" }, ...lists)];
  }
}

function choiceList(name: string, side: number, choices: readonly Choice[], actual: number): HTMLElement {
  const rows = choices.map(({ id, text, probability }) => {
    const bar = element("span", { className: "bar", ariaHidden: "true" });
    bar.style.setProperty("--share", String(probability));
    const percent = element("span", { className: "percent" }, `${(100 * probability).toFixed(1)} %`);
    return element("li", { className: id === actual ? "actual" : "" }, element("code", {}, visible(text)), bar, percent);
  });
  return element("div", { className: `side-${side}` }, element("h3", {}, name), element("ol", {}, ...rows));
}

function textChoice(name: string, value: number, change: () => void): HTMLElement[] {
  const input = element("input", { type: "radio", name: "comparison-text", value: String(value), checked: value === 0 });
  input.addEventListener("change", change);
  return [element("label", {}, input, name)];
}

const chosenText = () => Number(document.querySelector<HTMLInputElement>("input[name=comparison-text]:checked")?.value);

const isTorn = ({ reference, other }: Position) => reference[0]?.id !== other[0]?.id;

const isSame = (a: readonly Token[], b: readonly Token[]) => a.length === b.length && commonStart(a, b) === a.length;

function commonStart(a: readonly Token[], b: readonly Token[]): number {
  const differs = a.findIndex(({ id }, i) => b[i]?.id !== id);
  return differs < 0 ? a.length : differs;
}

function placeOf(target: EventTarget | null): number | undefined {
  const place = target instanceof HTMLElement ? target.dataset.place : undefined;
  return place === undefined ? undefined : Number(place);
}
