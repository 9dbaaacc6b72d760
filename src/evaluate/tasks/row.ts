/** One row of a task's file, with errors that say which. */
import { FormatError } from "../../errors.ts";
import { isObject, type JsonObject } from "../../json-object.ts";

export class Row {
  constructor(
    private readonly fields: JsonObject,
    private readonly file: string,
    private readonly line: number,
  ) {}

  has(name: string): boolean {
    return this.fields[name] !== undefined;
  }

  hasText(name: string): boolean {
    return typeof this.fields[name] === "string";
  }

  hasTexts(name: string): boolean {
    return isTexts(this.fields[name]);
  }

  /** @throws FormatError unless the field is a text. */
  text(name: string): string {
    const value = this.fields[name];
    return typeof value === "string" ? value : this.reject(name, "a text");
  }

  /** @throws FormatError unless the field is a list of texts that is not empty. */
  texts(name: string): string[] {
    const value = this.fields[name];
    return isTexts(value) ? value : this.reject(name, "a list of texts");
  }

  /** The object in a field, as a row of its own. */
  part(name: string): Row {
    const value = this.fields[name];
    return isObject(value) ? new Row(value, this.file, this.line) : this.reject(name, "an object");
  }

  /** A place in a list of `count` choices, counted from `first`: a number, its digits, or false and true. @throws FormatError */
  index(name: string, count: number, first = 0): number {
    const value = this.fields[name];
    const place = (typeof value === "string" && value.trim() === "" ? Number.NaN : Number(value)) - first;
    if (
      ["number", "bigint", "string", "boolean"].includes(typeof value) &&
      Number.isInteger(place) &&
      place >= 0 &&
      place < count
    )
      return place;
    return this.reject(name, `a whole number from ${first} to ${first + count - 1}`);
  }

  /** @throws FormatError naming the field, what it should be and what it is. */
  reject(name: string, expected: string): never {
    const value = JSON.stringify(this.fields[name]) ?? "nothing";
    throw new FormatError(this.file, `line ${this.line}, "${name}": expected ${expected}, got ${value.slice(0, 60)}`);
  }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string");
}
