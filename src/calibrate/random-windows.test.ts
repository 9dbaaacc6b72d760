import { expect, test } from "vitest";
import { randomWindows } from "./random-windows.ts";

test("every token is as likely as any other", () => {
  const counts = new Uint32Array(10);
  const windows = randomWindows(10, 20, 5_000);
  for (const window of windows) for (const id of window) counts[id] = (counts[id] as number) + 1;
  // 100,000 draws of probability .1: a standard deviation of 95, and six of them.
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(6 * 95);
});

test("more windows begin with the same ones", () => {
  expect(randomWindows(49_152, 3, 8).slice(0, 2)).toEqual(randomWindows(49_152, 2, 8));
});
