/** What decides a sweep's numbers, and the command line that makes them again. */
import { cpus } from "node:os";
import { allocatorNamed } from "../allocate/registry.ts";
import type { Calibration } from "../calibrate/sources.ts";
import type { StatisticsFolder } from "../calibrate/statistics-folder.ts";
import { methodOptions } from "../methods/method.ts";
import type { Model } from "../models/load.ts";
import type { DType } from "../tensor/index.ts";
import { VERSION } from "../version.ts";
import { calibrationText } from "./calibrate.ts";
import { modelFingerprint } from "./model-fingerprint.ts";
import { parseOptions } from "./options.ts";
import { shortNames } from "./short-names.ts";
import type { Evaluations } from "./sweep-cell.ts";
import { type SweepSettings, sweepOptions } from "./sweep-options.ts";
import type { SweepProtocol, SweepResult } from "./sweep-results.ts";

export interface Sweep extends Evaluations {
  readonly model: Model;
  readonly options: SweepSettings;
  readonly dtype: DType;
  /** Given by the user; not what the sweep itself will calibrate. */
  readonly stored: StatisticsFolder | undefined;
  /** What the sweep will calibrate itself. */
  readonly calibration: Calibration | undefined;
}

/** All of the results that is known before anything is measured. */
export function sweepHead(sweep: Sweep) {
  const { model, options } = sweep;
  const head: Omit<SweepResult, "dense" | "cells" | "spectra" | "seconds" | "peakRssBytes"> = {
    out: options.out,
    command: commandOf(options),
    created: new Date().toISOString(),
    node: process.version,
    machine: {
      processor: cpus()[0]?.model ?? "unknown",
      threads: options.threads ?? Number(process.env.RAYON_NUM_THREADS ?? cpus().length),
    },
    model: { path: model.source, blocks: model.config.blocks },
    protocol: protocolOf(sweep),
  };
  return head;
}

function protocolOf({ model, options, dtype, texts, tasks, stored, calibration: own }: Sweep): SweepProtocol {
  const [textNames, taskNames] = [texts, tasks].map((list) => shortNames(list.map(({ file }) => file))) as [string[], string[]];
  const { allocate, trials, depthGroups, seed, rankMultiple, include, exclude } = options;
  const { nesting = null, anchor: _, ...method } = methodOptions(options); // no method of a sweep reads the anchor
  const calibration = stored ? stored.manifest.texts : own ? [calibrationText(options.calibration, own)] : [];
  const window = stored ? stored.manifest.window : options.calibrationWindow;
  return {
    version: VERSION,
    modelFingerprint: modelFingerprint(model),
    texts: texts.map(({ sha256, tokens, windows }, i) => {
      return { text: textNames[i] as string, sha256, tokens, windows: windows.length };
    }),
    window: options.window,
    tasks: tasks.map(({ task, sha256, questions, bos }, i) => {
      return { file: taskNames[i] as string, task: task.name, sha256, rows: questions.length, bos };
    }),
    calibration,
    calibrationWindow: calibration.length > 0 ? window : null,
    propagate: "original",
    dtype,
    options: {
      ...(allocatorNamed(allocate).needs === "trials" ? { trials, depthGroups, seed } : {}),
      ...{ allocate, chatTemplate: String(options.chatTemplate), ...method, nesting, rankMultiple },
      ...{ include: include ?? null, exclude: exclude ?? null },
    },
  };
}

/** Options whose flag is not their name in kebab case. */
const FLAGS: Readonly<Record<string, string>> = { texts: "text", memoryBytes: "memory" };

/** Lists that the command line takes one by one; others are joined by commas. */
const SPACED = ["texts", "calibration"];

/** The command line, without what is default. */
function commandOf(options: SweepSettings): string {
  const defaults: Record<string, unknown> = parseOptions(sweepOptions, { model: "-", out: "-", texts: ["-"] });
  const { model, out, resume: _, ...rest } = options;
  const given = Object.entries(rest).filter(([key, value]) => value !== undefined && String(value) !== String(defaults[key]));
  const flags = given.flatMap(([key, value]) => {
    const flag = FLAGS[key] ?? key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return [`--${flag}`, ...(SPACED.includes(key) ? (value as string[]).map(quoted) : [quoted(String(value))])];
  });
  return ["rankfold", "sweep", quoted(model), "-o", quoted(out), ...flags].join(" ");
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
