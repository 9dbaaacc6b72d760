/** The text of one row of a data set: a document, a conversation, or a task's question with its right answer. */
import { FormatError } from "../errors.ts";
import type { JsonObject } from "../json-object.ts";
import { type ChatMessage, renderConversation } from "../tokenizer/chat.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** A task's row with its right answer; undefined for a row that is none of a task's. */
export type PromptOf = (file: string, fields: JsonObject, line: number) => string | undefined;

export interface RowReading {
  readonly promptOf: PromptOf;
  /** Whose chat template renders conversations; without it, they are refused. */
  readonly chat?: Tokenizer | undefined;
}

export interface RowPlace {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

export interface RowText {
  readonly text: string;
  /** What parts it from the next: a blank line, or nothing where the chat template has ended it. */
  readonly gap: string;
  /** A task's, which is a window of its own. */
  readonly isPrompt: boolean;
}

/**
 * The text of a row. With a chat template, a conversation goes first: `messages`, or `instruction` with `output`. Then `text`;
 * then a task's question with its right answer. @throws FormatError for any other row.
 */
export function rowText(fields: JsonObject, { file, line }: RowPlace, { promptOf, chat }: RowReading): RowText {
  const messages = chat ? conversation(fields) : undefined;
  if (chat && messages) return { text: renderConversation(chat, messages), gap: "", isPrompt: false };
  if (typeof fields.text === "string") return { text: fields.text, gap: "\n\n", isPrompt: false };
  const prompt = promptOf(file, fields, line);
  if (prompt !== undefined) return { text: prompt, gap: "\n\n", isPrompt: true };
  const names = Object.keys(fields).slice(0, 8).join(", ");
  const remedy = conversation(fields) ? "render conversations with --chat-template" : "name the column of text so";
  throw new FormatError(file, `line ${line} has no "text" field, only ${names || "none"}; ${remedy}`);
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
