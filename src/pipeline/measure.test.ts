import { expect, test } from "vitest";
import { StageClock } from "./measure.ts";

function busy(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

test("work inside other work counts once, as its own kind", () => {
  const clock = new StageClock<"outer" | "inner">();
  const start = performance.now();
  clock.time("outer", () => {
    busy(20);
    for (let i = 0; i < 2; i++) clock.time("inner", () => busy(50));
  });
  clock.time("inner", () => busy(50));
  const all = (performance.now() - start) / 1000;
  const [outer, inner] = [clock.seconds("outer"), clock.seconds("inner")];
  expect(inner).toBeGreaterThanOrEqual(0.149);
  expect(outer).toBeGreaterThanOrEqual(0.019);
  // Nothing is counted twice: together they are no longer than the clock on the wall.
  expect(outer + inner).toBeLessThanOrEqual(all);
});
