/**
 * What was measured of the modules, beside the statistics: a line each, `{"module", "losses"}` or `{"module", "at",
 * "divergence"}`, so that a kill loses one pass alone and whatever was measured once serves every size and every allocator.
 */
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import type { Curve, Measured } from "../allocate/allocator.ts";
import { FormatError } from "../errors.ts";
import { readTextFile } from "../formats/json-lines.ts";
import { storage } from "../formats/storage.ts";
import { isObject } from "../json-object.ts";

interface Line extends Partial<Measured> {
  readonly module: string;
  readonly losses?: readonly number[];
}

export class MeasurementJournal {
  private readonly losses = new Map<string, Float64Array>();
  private readonly measured = new Map<string, Measured[]>();

  private constructor(private readonly file: string) {}

  /** @throws FormatError when a line is damaged; the last one may be cut short by a kill. */
  static open(file: string): MeasurementJournal {
    const journal = new MeasurementJournal(file);
    if (!existsSync(file)) return journal;
    const whole = readTextFile(file).split("\n").slice(0, -1);
    for (const [i, text] of whole.entries()) journal.remember(parseLine(file, i + 1, text));
    storage(file, () => writeFileSync(file, whole.map((text) => `${text}\n`).join("")));
    return journal;
  }

  /** The module's losses, and its divergences at those of `sizes` that were measured; undefined where it was never tried. */
  curve(module: string, sizes: readonly number[]): Curve | undefined {
    const losses = this.losses.get(module);
    const measured = this.measured.get(module) ?? [];
    return losses && { losses, measured: measured.filter(({ at }) => sizes.includes(at)) };
  }

  /** Writes what one pass measured. */
  add(losses: ReadonlyMap<string, Float64Array>, measured: readonly (Measured & { readonly module: string })[]): void {
    const fresh = [...losses].filter(([module]) => !this.losses.has(module));
    const lines: Line[] = [...fresh.map(([module, values]) => ({ module, losses: [...values] })), ...measured];
    storage(this.file, () => appendFileSync(this.file, lines.map((line) => `${JSON.stringify(line)}\n`).join("")));
    for (const line of lines) this.remember(line);
  }

  private remember({ module, losses, at, divergence }: Line): void {
    if (losses) this.losses.set(module, Float64Array.from(losses));
    if (at === undefined || divergence === undefined) return;
    this.measured.set(module, [...(this.measured.get(module) ?? []), { at, divergence }]);
  }
}

function parseLine(file: string, line: number, text: string): Line {
  const damaged = () => new FormatError(file, `line ${line}: expected a measurement, got something else; delete the file`);
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value) && typeof value.module === "string") return value as unknown as Line;
  } catch {
    throw damaged();
  }
  throw damaged();
}
