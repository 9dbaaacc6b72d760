import { InvalidArgumentError } from "commander";
import { describe, expect, test } from "vitest";
import { collect, numberIn, parseBytes, wholeNumber } from "./values.ts";

describe("parseBytes()", () => {
  test.each([
    ["8G", 8 * 1024 ** 3],
    ["8GiB", 8 * 1024 ** 3],
    ["8g", 8 * 1024 ** 3],
    ["8GB", 8e9],
    ["1.5 M", 1.5 * 1024 ** 2],
    ["512k", 512 * 1024],
    ["2T", 2 * 1024 ** 4],
    ["4096", 4096],
    ["4096B", 4096],
  ])("reads %s as %d bytes", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  test.each(["", "G", "-1G", "0", "0.5", "8X", "8 GG", "8iB", "1e3", "99999999T", "NaN"])("refuses %j", (text) => {
    expect(() => parseBytes(text)).toThrow(InvalidArgumentError);
  });
});

describe("wholeNumber()", () => {
  test("reads whole numbers from its least value", () => {
    expect(wholeNumber(0)("0")).toBe(0);
    expect(wholeNumber(2)("512")).toBe(512);
  });

  test.each(["1", "2.5", "-3", "abc", "", "0x10", "1e3", "99999999999999999999"])("refuses %j below or beside 2", (text) => {
    expect(() => wholeNumber(2)(text)).toThrow(InvalidArgumentError);
  });
});

describe("numberIn()", () => {
  test("an open end is outside, a closed one inside", () => {
    const keep = numberIn(0, 1, { open: true });
    expect(keep("1")).toBe(1);
    expect(keep("0.8")).toBe(0.8);
    expect(() => keep("0")).toThrow("(0, 1]");
    expect(numberIn(0, 1)("0")).toBe(0);
  });

  test.each(["1.01", "-0.1", "NaN", "Infinity", "", " ", "0,8"])("refuses %j for [0, 1]", (text) => {
    expect(() => numberIn(0, 1)(text)).toThrow(InvalidArgumentError);
  });

  test("without an upper end Infinity is still refused", () => {
    expect(numberIn(0, Number.POSITIVE_INFINITY)("1000")).toBe(1000);
    expect(() => numberIn(0, Number.POSITIVE_INFINITY)("Infinity")).toThrow("from 0");
  });
});

test("collect() keeps the order of a repeated option", () => {
  expect(collect("b", collect("a"))).toEqual(["a", "b"]);
});
