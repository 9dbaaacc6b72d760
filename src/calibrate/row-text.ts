/** The text of one row of a data set: a document, a conversation, or a task's question with its right answer. */
import { FormatError } from "../errors.ts";
import type { JsonObject } from "../formats/json.ts";
import { type ChatMessage, renderConversation } from "../tokenizer/chat.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

export interface RowPlace {
  readonly file: string;
  /** `line 3`, `row 3`. */
  readonly where: string;
  /** Whose chat template renders conversations; without it, they are refused. */
  readonly chat?: Tokenizer | undefined;
}

/**
 * The text of a row, and what parts it from the next: a blank line, or what the chat template ends a conversation with.
 * With a chat template, a conversation goes first: `messages`, or `instruction` with `output`. Then `text`; then a task's
 * `context`, `choices` and `label` as context and right choice (what ROM calibrates on). @throws FormatError for any other row.
 */
export function rowText(fields: JsonObject, place: RowPlace): { readonly text: string; readonly gap: string } {
  const messages = place.chat ? conversation(fields) : undefined;
  if (place.chat && messages) return { text: renderConversation(place.chat, messages), gap: "" };
  const text = typeof fields.text === "string" ? fields.text : taskText(fields);
  if (text !== undefined) return { text, gap: "\n\n" };
  const names = Object.keys(fields).slice(0, 8).join(", ");
  const remedy = conversation(fields) ? "render conversations with --chat-template" : "name the column of text so";
  throw new FormatError(place.file, `${place.where} has no "text" field, only ${names || "none"}; ${remedy}`);
}

function conversation(fields: JsonObject): readonly ChatMessage[] | undefined {
  const { messages, instruction, input, output } = fields;
  if (isConversation(messages)) return messages;
  if (typeof instruction !== "string" || typeof output !== "string") return undefined;
  const content = typeof input === "string" && input !== "" ? `${instruction}\n\n${input}` : instruction;
  return [
    { role: "user", content },
    { role: "assistant", content: output },
  ];
}

function isConversation(value: unknown): value is readonly ChatMessage[] {
  const isMessage = (item: unknown) => {
    const { role, content } = (item ?? {}) as Partial<Record<string, unknown>>;
    return typeof role === "string" && typeof content === "string";
  };
  return Array.isArray(value) && value.length > 0 && value.every(isMessage);
}

function taskText({ context, choices, label }: JsonObject): string | undefined {
  const choice = Array.isArray(choices) ? choices[Number(label ?? Number.NaN)] : undefined;
  if (typeof context !== "string" || typeof choice !== "string") return undefined;
  return context === "" ? choice : `${context} ${choice}`;
}
