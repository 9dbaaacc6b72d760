/** One model on the page: what it is, what it costs, what it writes. */
import { formatBytes, formatCount } from "../src/report/units.ts";
import { element } from "./dom.ts";
import { ModelClient } from "./model-client.ts";
import type { ListedModel, Loaded, WorkerEvent, WriteRequest, Written } from "./protocol.ts";

const FACTS = { size: "Size", parameters: "Parameters", memory: "Memory", speed: "Tokens/s", first: "First token" } as const;
type Fact = keyof typeof FACTS;

export class Pane {
  readonly client = new ModelClient();
  readonly model: ListedModel;
  readonly view: HTMLElement;
  /** Of the last prompt. */
  written: Written | undefined;
  private readonly index: number;
  /** What the numbers are compared with. */
  private readonly baseline: Pane | undefined;
  private readonly numbers = new Map<Fact, number>();
  private readonly cells = new Map<Fact, HTMLElement>();
  private readonly bar = element("progress", { max: 1, value: 0 });
  private readonly state = element("p", { className: "state" });
  private readonly prompt = element("span", { className: "prompt" });
  private readonly continuation = element("span");
  private readonly text: HTMLElement;

  constructor(model: ListedModel, index: number, baseline?: Pane) {
    this.model = model;
    this.index = index;
    this.baseline = baseline;
    const title = `model-${index}`;
    this.text = element("div", { className: "text", tabIndex: 0 }, this.prompt, this.continuation);
    this.text.setAttribute("role", "region");
    this.text.setAttribute("aria-label", `What ${model.name} writes`);
    this.text.setAttribute("aria-live", "polite");
    this.state.setAttribute("role", "status");
    this.bar.setAttribute("aria-label", `Loading ${model.name}`);
    this.view = element(
      "article",
      { className: `pane side-${index}` },
      element("h2", { id: title }, model.name),
      element("p", { className: "made" }, [...(model.made === null ? [] : [model.made]), model.dtype].join(" \u00b7 ")),
      this.facts(),
      this.bar,
      this.state,
      this.text,
    );
    this.view.setAttribute("aria-labelledby", title);
    this.show("size", model.bytes);
    if (model.parameters !== null) this.show("parameters", model.parameters);
    this.client.onEvent = (event) => this.receive(event);
  }

  /** Fetches the model and starts it. */
  async load(threads: number): Promise<Loaded> {
    this.say("fetching");
    const address = new URL(`models/${this.index}/`, document.baseURI).href;
    const loaded = await this.client.call("load", { model: this.model, address, threads });
    this.bar.hidden = true;
    this.show("memory", loaded.memoryBytes);
    this.say("ready");
    return loaded;
  }

  async write(request: WriteRequest): Promise<Written> {
    this.text.setAttribute("aria-busy", "true");
    this.say("reading the prompt");
    try {
      this.written = await this.client.call("write", request);
    } finally {
      this.text.removeAttribute("aria-busy");
    }
    const { written, tokensPerSecond, firstTokenSeconds, memoryBytes } = this.written;
    if (written.length > 1) this.show("speed", tokensPerSecond);
    this.show("first", firstTokenSeconds);
    this.show("memory", memoryBytes);
    this.say(`wrote ${written.length} tokens`);
    return this.written;
  }

  /** Empties the text for a new prompt. */
  clear(prompt: string): void {
    this.prompt.textContent = prompt;
    this.continuation.textContent = "";
    this.written = undefined;
    for (const fact of ["speed", "first"] as const) this.forget(fact);
    this.say("waiting");
  }

  /** Puts shares of the baseline's numbers beside its own, once both stand still. */
  settle(): void {
    for (const [fact, value] of this.numbers) {
      const reference = this.baseline?.numbers.get(fact);
      this.show(fact, value);
      if (reference) this.cells.get(fact)?.append(element("small", {}, `${(value / reference).toFixed(2)}\u00d7`));
    }
  }

  fail(error: unknown): void {
    this.bar.hidden = true;
    this.view.classList.add("failed");
    this.say(`failed: ${error instanceof Error ? error.message : String(error)}`);
  }

  private receive(event: WorkerEvent): void {
    if (event.event === "loading") {
      this.bar.value = Math.min(1, event.bytes / this.model.bytes);
      if (this.bar.value === 1) this.say("starting");
      return;
    }
    this.continuation.append(event.text);
    this.text.scrollTop = this.text.scrollHeight;
    if (event.tokens > 1) this.show("speed", event.tokensPerSecond);
    this.state.textContent = `writing, ${event.tokens} tokens`;
  }

  private say(line: string): void {
    this.state.textContent = line;
  }

  private facts(): HTMLElement {
    const entries = Object.entries(FACTS) as [Fact, string][];
    return element(
      "dl",
      { className: "facts" },
      ...entries.map(([fact, name]) => {
        const cell = element("dd", {}, "\u2013");
        this.cells.set(fact, cell);
        return element("div", {}, element("dt", {}, name), cell);
      }),
    );
  }

  private show(fact: Fact, value: number): void {
    this.numbers.set(fact, value);
    this.cells.get(fact)?.replaceChildren(FORMATS[fact](value));
  }

  private forget(fact: Fact): void {
    this.numbers.delete(fact);
    this.cells.get(fact)?.replaceChildren("\u2013");
  }
}

const FORMATS: Readonly<Record<Fact, (value: number) => string>> = {
  size: formatBytes,
  parameters: formatCount,
  memory: formatBytes,
  speed: (value) => value.toFixed(1),
  first: (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`),
};
