/**
 * `report.html` of a sweep: one file that needs nothing else. The page's own sources are in assets/report; its script is the
 * modules there, one after the other without their imports and exports, behind uPlot.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/** What the page reads; texts are ready to be shown, numbers are for charts and comparisons. */
export interface SweepPage {
  readonly title: string;
  readonly summary: string;
  readonly command: string;
  /** How it was measured, one fact a line. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** What the charts and tables show of every row, in the order of its values. */
  readonly measures: readonly PageMeasure[];
  readonly texts: readonly PageText[];
  readonly calibration: readonly PageText[];
  readonly blocks: number;
  /** Names of the projections, in their block. */
  readonly projections: readonly string[];
  readonly methods: readonly string[];
  readonly dense: PageRow;
  readonly cells: readonly PageCell[];
  readonly spectra: readonly PageSpectra[];
}

export interface PageMeasure {
  /** A text, a task, or an average over them. */
  readonly name: string;
  readonly kind: "perplexity" | "accuracy";
}

export interface PageText {
  readonly text: string;
  readonly use: string;
  readonly tokens: string;
  readonly windows: string;
  readonly sha256: string;
}

export interface PageRow {
  /** By measure. */
  readonly values: readonly number[];
  /** What stands beside a value: a standard error, a second metric. */
  readonly notes: readonly string[];
  readonly size: string;
  readonly weights: string;
  readonly time: string;
}

/** By block and projection; null where it stayed dense or nothing was measured. */
export type ByProjection<T> = readonly (readonly (T | null)[])[];

export interface PageCell extends PageRow {
  readonly method: string;
  readonly keep: number;
  readonly keptProjections: number;
  readonly keptTotal: number;
  readonly energy: ByProjection<number>;
  readonly rank: ByProjection<number>;
  readonly error: ByProjection<number>;
}

export interface PageSpectra {
  readonly method: string;
  readonly curves: ByProjection<{ readonly rank: number; readonly retained: readonly number[] }>;
}

/** The page's modules, those that others import first. */
const MODULES = ["dom.js", "chart.js", "curves.js", "tables.js", "energy.js", "page.js"];

export function renderSweepPage(page: SweepPage): string {
  const parts: Readonly<Record<string, string>> = {
    title: escapeHtml(page.title),
    css: `${uplot("uPlot.min.css")}\n${asset("../theme.css")}\n${asset("page.css")}`,
    uplot: uplot("uPlot.iife.min.js"),
    script: `"use strict";\n${MODULES.map((name) => withoutImports(asset(name))).join("\n")}`,
    // A text could hold "</script>".
    data: JSON.stringify(page).replaceAll("<", "\\u003c"),
  };
  return asset("page.html").replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name] ?? "");
}

const asset = (name: string) => readFileSync(new URL(`../../assets/report/${name}`, import.meta.url), "utf8");

const uplot = (name: string) => readFileSync(createRequire(import.meta.url).resolve(`uplot/dist/${name}`), "utf8");

const withoutImports = (source: string) => source.replace(/^import [^;]*;\n/gm, "").replace(/^export /gm, "");

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

const escapeHtml = (text: string) => text.replace(/[&<>"]/g, (character) => ENTITIES[character] as string);
