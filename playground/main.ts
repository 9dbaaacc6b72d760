/** The page: loads the models, writes with all of them, then compares them. */
import { Comparison } from "./comparison.ts";
import { byId } from "./dom.ts";
import { Pane } from "./pane.ts";
import type { ListedModel, Loaded, WriteRequest } from "./protocol.ts";

/** onnxruntime gains little from more on models of this size. */
const MAX_THREADS = 8;
const PROMPT = "The people of the United States";
const QUESTION = "Why is the sky blue?";

const input = (id: string) => byId<HTMLInputElement>(id);

async function start(): Promise<void> {
  const models = (await (await fetch("models.json")).json()) as ListedModel[];
  const panes: Pane[] = [];
  for (const [i, model] of models.entries()) panes.push(new Pane(model, i, panes[0]));
  const [first, second] = panes;
  byId("panes").append(...panes.map(({ view }) => view));
  byId("turns-choice").hidden = panes.length === 1;
  if (models.length > 1) {
    byId("title").textContent = "Two models, one prompt";
    byId("summary").textContent = "Both write, then both read the same text, to see where their predictions part.";
  }
  const threads = Math.max(1, Math.min(MAX_THREADS, Math.floor(navigator.hardwareConcurrency / panes.length)));
  const comparison = first && second ? new Comparison([first, second]) : undefined;
  const loaded = await Promise.all(panes.map((pane) => pane.load(threads).catch((error) => void pane.fail(error))));
  const working = panes.filter((_, i) => loaded[i]);
  for (const pane of working) pane.settle();
  if (working.length > 0) prepareForm(working, loaded, comparison);
}

function prepareForm(panes: readonly Pane[], loaded: readonly (Loaded | undefined)[], comparison: Comparison | undefined): void {
  const hasChat = loaded.every((model) => model?.hasChat ?? true);
  byId("chat-choice").hidden = !hasChat;
  input("chat").checked = hasChat;
  if (input("prompt").value === "") input("prompt").value = hasChat ? QUESTION : PROMPT;
  input("write").disabled = false;
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    void write(panes, comparison);
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId<HTMLFormElement>("form").requestSubmit();
  });
  byId("stop").addEventListener("click", () => {
    for (const { client } of panes) void client.call("stop");
  });
}

async function write(panes: readonly Pane[], comparison: Comparison | undefined): Promise<void> {
  const request = wanted();
  setWriting(true);
  comparison?.clear();
  for (const pane of panes) pane.clear(request.prompt);
  const one = (pane: Pane) => pane.write(request).catch((error) => void pane.fail(error));
  if (input("in-turn").checked) for (const pane of panes) await one(pane);
  else await Promise.all(panes.map(one));
  for (const pane of panes) pane.settle();
  await comparison?.show().catch(fail);
  setWriting(false);
}

function wanted(): WriteRequest {
  const number = (id: string) => Number(input(id).value);
  return {
    prompt: input("prompt").value,
    chat: input("chat").checked,
    tokens: number("tokens"),
    temperature: number("temperature"),
    seed: number("seed"),
  };
}

function setWriting(isWriting: boolean): void {
  input("write").disabled = isWriting;
  input("stop").disabled = !isWriting;
}

function fail(error: unknown): void {
  byId("failure").hidden = false;
  byId("failure").textContent = error instanceof Error ? error.message : String(error);
}

start().catch(fail);
