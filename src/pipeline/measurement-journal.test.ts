import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FormatError } from "../errors.ts";
import { MeasurementJournal } from "./measurement-journal.ts";

const newFile = () => join(mkdtempSync(join(tmpdir(), "rankfold-journal-")), "measurements.jsonl");
const losses = Float64Array.of(3, 1, 0);

test("what was added is there again, the sizes that are asked for alone", () => {
  const file = newFile();
  const journal = MeasurementJournal.open(file);
  journal.add(new Map([["q", losses]]), [
    { module: "q", at: 1, divergence: 0.25 },
    { module: "q", at: 2, divergence: 0.125 },
  ]);
  journal.add(new Map([["q", losses]]), [{ module: "q", at: 3, divergence: 0.0625 }]);
  for (const read of [journal, MeasurementJournal.open(file)]) {
    expect(read.curve("q", [3, 1])).toEqual({
      losses,
      measured: [
        { at: 1, divergence: 0.25 },
        { at: 3, divergence: 0.0625 },
      ],
    });
    expect(read.curve("k", [1])).toBeUndefined();
  }
  expect(readFileSync(file, "utf8").match(/losses/g)).toHaveLength(1);
});

test("a last line that a kill cut short is dropped, and the next one does not continue it", () => {
  const file = newFile();
  MeasurementJournal.open(file).add(new Map([["q", losses]]), [{ module: "q", at: 1, divergence: 0.25 }]);
  appendFileSync(file, '{"module":"q","at":2,"diver');
  MeasurementJournal.open(file).add(new Map(), [{ module: "q", at: 2, divergence: 0.5 }]);
  expect(
    MeasurementJournal.open(file)
      .curve("q", [1, 2])
      ?.measured.map(({ divergence }) => divergence),
  ).toEqual([0.25, 0.5]);
});

test("a damaged line is refused with its number", () => {
  const file = newFile();
  for (const damage of ["nonsense", "[1]", '{"losses":[1]}']) {
    writeFileSync(file, `{"module":"q","losses":[1]}\n${damage}\n`);
    expect(() => MeasurementJournal.open(file)).toThrow(FormatError);
    expect(() => MeasurementJournal.open(file)).toThrow(/line 2/);
  }
});
