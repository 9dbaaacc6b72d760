/** Text of tokens as they come: a token may end inside a character, whose rest is then waited for. */
import type { Tokenizer } from "./tokenizer.ts";

export class TextStream {
  readonly ids: number[] = [];
  private readonly tokenizer: Tokenizer;
  private shown = 0;

  constructor(tokenizer: Tokenizer) {
    this.tokenizer = tokenizer;
  }

  /** The text that this token completes, often its own. */
  add(id: number): string {
    this.ids.push(id);
    const text = this.tokenizer.decode(this.ids);
    if (text.endsWith("\uFFFD")) return "";
    const piece = text.slice(this.shown);
    this.shown = text.length;
    return piece;
  }
}
