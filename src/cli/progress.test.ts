import { describe, expect, test } from "vitest";
import { ProgressDisplay, progressLine } from "./progress.ts";

const MEMORY = { now: 512 * 1024 ** 2, peak: 1.25 * 1024 ** 3 };

function display({ isTTY = false, isQuiet = false, columns = 200 } = {}) {
  const written: string[] = [];
  const clock = { time: 0, now: () => clock.time, memory: () => MEMORY };
  const terminal = { isTTY, columns, write: (text: string) => written.push(text) };
  return { written, clock, shown: new ProgressDisplay(terminal, isQuiet, clock) };
}

const at = (done: number, stage = "factorize") => ({ stage, done, total: 30, unit: "block" });

test("progressLine() names the stage, what is done, the time left and the memory", () => {
  expect(progressLine(at(3), 2, MEMORY)).toBe("factorize  block 3/30  54 s left  memory 512 MiB, peak 1.25 GiB");
});

test("progressLine() promises no time before one unit is done", () => {
  expect(progressLine(at(0), undefined, MEMORY)).toBe("factorize  block 0/30  memory 512 MiB, peak 1.25 GiB");
});

describe("ProgressDisplay away from a terminal", () => {
  test("prints a stage when it begins, then every five seconds", () => {
    const { written, clock, shown } = display();
    for (clock.time = 0; clock.time <= 12_000; clock.time += 1000) shown.progress(at(clock.time / 1000));
    expect(written).toHaveLength(3);
    expect(written[0]).toMatch(/^factorize {2}block 0\/30 .*\n$/);
    expect(written[2]).toContain("block 10/30  20 s left");
  });

  test("stages that take turns are announced once each", () => {
    const { written, shown } = display();
    for (let block = 0; block < 10; block++) for (const stage of ["calibrate", "factorize"]) shown.progress(at(block, stage));
    expect(written).toHaveLength(2);
  });

  test("writes no control characters", () => {
    const { written, shown } = display();
    shown.progress(at(0));
    shown.note("damped");
    shown.clear();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be absent
    expect(written.join("")).not.toMatch(/[\u001b\r]/);
  });
});

describe("ProgressDisplay on a terminal", () => {
  test("redraws one line, cut to the width, at most ten times a second", () => {
    const { written, clock, shown } = display({ isTTY: true, columns: 20 });
    for (clock.time = 0; clock.time < 1000; clock.time += 10) shown.progress(at(1));
    expect(written).toHaveLength(10);
    for (const text of written) expect(text).toBe(`\r\u001b[K${"factorize  block 1/3".slice(0, 19)}`);
  });

  test("a note takes the line away first, and stays", () => {
    const { written, shown } = display({ isTTY: true });
    shown.progress(at(1));
    shown.note("damped");
    expect(written.slice(1)).toEqual(["\r\u001b[K", "damped\n"]);
  });
});

test("ProgressDisplay writes nothing when quiet", () => {
  const { written, shown } = display({ isTTY: true, isQuiet: true });
  shown.progress(at(1));
  shown.note("damped");
  shown.clear();
  expect(written).toEqual([]);
});
