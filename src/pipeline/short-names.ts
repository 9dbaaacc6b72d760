/** Names of files for reports and journals, which should not tell about this machine. */
import { basename, dirname } from "node:path";

/** The files' names; with their folder's where two are called the same, as the files of data sets are. Weights stay. */
export function shortNames(sources: readonly string[]): string[] {
  const nameOf = (source: string) => basename(source).replace(/:[\d.]+$/, "");
  const isShared = (source: string) => sources.filter((other) => nameOf(other) === nameOf(source)).length > 1;
  return sources.map((source) => (isShared(source) ? `${basename(dirname(source))}/${basename(source)}` : basename(source)));
}

/** What tasks are called in tables: by their names, or by their files' where two have the same. */
export function taskNames(tasks: readonly { readonly task: string; readonly file: string }[]): string[] {
  const names = tasks.map(({ task }) => task);
  return new Set(names).size === names.length ? names : tasks.map(({ file }) => file);
}
