/** `results.json` of a sweep: written anew after every cell, so that a kill loses at most the cells being measured. */
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FormatError, UsageError } from "../errors.ts";
import { readJson } from "../formats/json.ts";
import { storage } from "../formats/storage.ts";
import { peakRssBytes, stopwatch } from "./measure.ts";
import type { Spectrum, SweepCell, SweepProtocol, SweepResult, SweepRow } from "./sweep-results.ts";

export const RESULTS = "results.json";

type Head = Omit<SweepResult, "dense" | "cells" | "spectra" | "seconds" | "peakRssBytes">;

export class SweepJournal {
  private dense: SweepRow | null = null;
  private readonly cells = new Map<string, SweepCell>();
  private readonly spectra = new Map<string, Spectrum>();
  private readonly elapsed = stopwatch();
  /** What runs before this one took. */
  private earlier = { seconds: 0, peakRssBytes: 0 };

  private constructor(private readonly head: Head) {}

  /**
   * @throws UsageError when the folder holds something else, or a sweep and `resume` was not asked for, or one of another
   * protocol; FormatError when its results are damaged.
   */
  static open(head: Head, resume: boolean): SweepJournal {
    const journal = new SweepJournal(head);
    const file = join(head.out, RESULTS);
    if (existsSync(file)) {
      if (!resume) throw new UsageError(`-o ${head.out}: holds a sweep; continue it with --resume, or give another folder`);
      journal.take(file, readJson(file) as unknown as SweepResult);
    }
    journal.save();
    return journal;
  }

  private take(file: string, saved: SweepResult): void {
    if (!Array.isArray(saved.cells) || !Array.isArray(saved.spectra) || typeof saved.protocol !== "object")
      throw new FormatError(file, "expected the results of a sweep, got something else; give another folder");
    checkProtocol(this.head.out, saved.protocol, this.head.protocol);
    this.dense = saved.dense;
    for (const cell of saved.cells) this.cells.set(keyOf(cell), cell);
    this.addSpectra(saved.spectra);
    this.earlier = { seconds: saved.seconds, peakRssBytes: saved.peakRssBytes };
  }

  has(method: string, keep: number): boolean {
    return this.cells.has(keyOf({ method, keep }));
  }

  get denseRow(): SweepRow | null {
    return this.dense;
  }

  saveDense(row: SweepRow): void {
    this.dense = row;
    this.save();
  }

  saveCell(cell: SweepCell): void {
    this.cells.set(keyOf(cell), cell);
    this.save();
  }

  addSpectra(spectra: readonly Spectrum[]): void {
    for (const spectrum of spectra) this.spectra.set(`${spectrum.method} ${spectrum.name}`, spectrum);
  }

  result(): SweepResult {
    return {
      ...this.head,
      dense: this.dense,
      cells: sorted([...this.cells.values()]),
      spectra: [...this.spectra.values()],
      seconds: this.earlier.seconds + this.elapsed(),
      peakRssBytes: Math.max(this.earlier.peakRssBytes, peakRssBytes()),
    };
  }

  private save(): void {
    const file = join(this.head.out, RESULTS);
    storage(file, () => {
      mkdirSync(this.head.out, { recursive: true });
      writeFileSync(`${file}.partial`, `${JSON.stringify(this.result())}\n`, { flush: true });
      renameSync(`${file}.partial`, file);
    });
  }
}

/** @throws UsageError when the folder is there, not empty, and no sweep. */
export function checkSweepFolder(out: string): void {
  if (!existsSync(out)) return;
  const isTaken = !statSync(out).isDirectory() || (readdirSync(out).length > 0 && !existsSync(join(out, RESULTS)));
  if (isTaken) throw new UsageError(`-o ${out}: is not empty and no sweep; give a folder that does not exist or is empty`);
}

/** By method, the first measured first, then from the largest to the smallest. */
function sorted(cells: readonly SweepCell[]): SweepCell[] {
  const methods = [...new Set(cells.map(({ method }) => method))];
  return [...cells].sort((a, b) => methods.indexOf(a.method) - methods.indexOf(b.method) || b.keep - a.keep);
}

const keyOf = ({ method, keep }: { readonly method: string; readonly keep: number }) => `${method}@${keep}`;

function checkProtocol(out: string, saved: SweepProtocol, now: SweepProtocol): void {
  for (const [key, value] of Object.entries(now)) {
    const [before, after] = [JSON.stringify(saved[key as keyof SweepProtocol]), JSON.stringify(value)];
    if (before !== after)
      throw new UsageError(
        `--resume: ${out} was made with ${key} ${before}, now it is ${after}; use the same, or another folder`,
      );
  }
}
