/** Renders a conversation with the chat template that a model brings. The template can compute, but not reach files. */
import { Template } from "@huggingface/jinja";
import { FormatError, UnsupportedError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** The text that the model continues, up to the start of its answer. @throws UnsupportedError without a template. */
export function renderChat(tokenizer: Tokenizer, messages: readonly ChatMessage[]): string {
  return render(tokenizer, messages, true);
}

/** A conversation that is complete. @throws as `renderChat` does. */
export function renderConversation(tokenizer: Tokenizer, messages: readonly ChatMessage[]): string {
  return render(tokenizer, messages, false);
}

function render({ chatTemplate, specialTokens }: Tokenizer, messages: readonly ChatMessage[], isOpen: boolean): string {
  if (chatTemplate === undefined)
    throw new UnsupportedError("tokenizer_config.json: expected a chat_template, found none; give the prompt as plain text");
  try {
    return new Template(chatTemplate).render({ ...specialTokens, messages, add_generation_prompt: isOpen });
  } catch (cause) {
    throw new FormatError(
      "tokenizer_config.json",
      `chat_template: expected one that renders these messages, it says: ${(cause as Error).message}`,
    );
  }
}
