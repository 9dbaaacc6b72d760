/** From the text of an option to its value; commander prints what is thrown here, with the option's name. */
import { InvalidArgumentError } from "commander";

const PREFIXES = ["", "k", "m", "g", "t"];

/** `8G`, `8GiB` (powers of 1024), `8GB` (powers of 1000) or a number of bytes. */
export function parseBytes(text: string): number {
  const [, digits, prefix = "", suffix = ""] = /^(\d+(?:\.\d+)?) ?(?:([kmgt])(i?b)?|b)?$/i.exec(text.trim()) ?? [];
  const base = suffix.toLowerCase() === "b" ? 1000 : 1024;
  const bytes = Math.floor(Number(digits) * base ** PREFIXES.indexOf(prefix.toLowerCase()));
  if (bytes >= 1 && Number.isSafeInteger(bytes)) return bytes;
  throw new InvalidArgumentError("Expected a size such as 8G, 512M or a number of bytes.");
}

/** A whole number from `least`, up to `most`. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    const range = most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : "";
    throw new InvalidArgumentError(`Expected a whole number from ${least}${range}.`);
  };
}

/** A number in a range that contains `most`, and `least` unless it is open there. */
export function numberIn(least: number, most: number, { open = false } = {}): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if ((open ? value > least : value >= least) && value <= most && Number.isFinite(value)) return value;
    const range = most === Number.POSITIVE_INFINITY ? `from ${least}` : `in ${open ? "(" : "["}${least}, ${most}]`;
    throw new InvalidArgumentError(`Expected a number ${range}.`);
  };
}

/** For options that may be given several times. */
export const collect = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];

/** The same, several values at once between commas. */
export const collectList = (value: string, earlier: readonly string[] = []): string[] => {
  return [...earlier, ...value.split(",").filter((item) => item !== "")];
};

/** Values separated by commas, in place of the default. */
export const list = (text: string): string[] => text.split(",").filter((item) => item !== "");

/** Numbers in (least, most], separated by commas. */
export function numberList(least: number, most: number): (text: string) => number[] {
  const parse = numberIn(least, most, { open: true });
  return (text) => text.split(",").map(parse);
}
