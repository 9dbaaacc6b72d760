/** Text to token ids and back, by the tokenizer.json of a model. No special tokens are ever added to a text. */
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { FormatError } from "../errors.ts";
import { isObject, type JsonObject } from "../json-object.ts";
import { exactPreTokenizer } from "./pre-tokenizer.ts";

/** What the library asks for; other programs leave out those that are null. */
const PARTS = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };

export class Tokenizer {
  /** Tokens that end a text or a turn. */
  readonly eosIds: ReadonlySet<number>;
  readonly bosId: number | undefined;
  /** Whether the tokenizer itself begins a text with that token, where special tokens are asked for. */
  readonly addsBos: boolean;
  /** One above the largest id. */
  readonly vocabularySize: number;
  /** Jinja source, see `renderChat`. */
  readonly chatTemplate: string | undefined;
  /** The texts of bos_token, eos_token and the like, for the template. */
  readonly specialTokens: Readonly<Record<string, string>>;
  private readonly library: Library;

  private constructor(library: Library, config: JsonObject, eosIds: readonly number[]) {
    this.library = library;
    this.specialTokens = specialTokens(config);
    const { bos_token: bos, eos_token: eos } = this.specialTokens;
    this.bosId = this.idOf(bos);
    this.addsBos = this.bosId !== undefined && library.encode("a", { add_special_tokens: true }).ids[0] === this.bosId;
    this.eosIds = new Set([this.idOf(eos), ...eosIds].filter((id) => id !== undefined));
    this.vocabularySize = [...library.get_vocab().values()].reduce((most, id) => Math.max(most, id + 1), 0);
    this.chatTemplate = defaultTemplate(config.chat_template);
  }

  /**
   * From the contents of tokenizer.json and tokenizer_config.json; `eosIds` beside the one that the config names.
   * @throws FormatError naming `path` when the tokenizer cannot be read.
   */
  static fromJson(json: JsonObject, config: JsonObject = {}, eosIds: readonly number[] = [], path = "tokenizer.json"): Tokenizer {
    try {
      const library = new Library({ ...PARTS, ...json, pre_tokenizer: exactPreTokenizer(json.pre_tokenizer ?? null) }, {});
      return new Tokenizer(library, config, eosIds);
    } catch (cause) {
      throw new FormatError(
        path,
        `expected a tokenizer that can be read, its parser says: ${(cause as Error).message}; save it again with transformers`,
      );
    }
  }

  encode(text: string): Uint32Array {
    return Uint32Array.from(this.library.encode(text, { add_special_tokens: false }).ids);
  }

  /** The text, special tokens included. Bytes that are no UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>): string {
    if (ids.length === 0) return "";
    return this.library.decode(Array.from(ids), { clean_up_tokenization_spaces: false });
  }

  private idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.library.token_to_id(token);
  }
}

/** `bos_token` and the like are texts, or objects with the text in `content`. */
function specialTokens(config: JsonObject): Record<string, string> {
  const texts = Object.entries(config).map(([key, value]) => [key, isObject(value) ? value.content : value]);
  return Object.fromEntries(texts.filter(([key, text]) => String(key).endsWith("_token") && typeof text === "string"));
}

/** Some models carry several templates by name. */
function defaultTemplate(template: unknown): string | undefined {
  if (typeof template === "string") return template;
  if (!Array.isArray(template)) return undefined;
  const named = template.find((item) => isObject(item) && item.name === "default");
  return typeof named?.template === "string" ? named.template : undefined;
}

/** The ids that a config names as ends of a text. */
export function endIds(config: JsonObject | undefined): number[] {
  return [config?.eos_token_id].flat().filter((id) => typeof id === "number");
}
