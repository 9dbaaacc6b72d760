/** Methods by the name that the user types. */
import { UsageError } from "../errors.ts";
import { nearestName } from "../nearest-name.ts";
import { aaSvd } from "./aa-svd.ts";
import { asvd } from "./asvd.ts";
import { asvdII } from "./asvd-ii.ts";
import { asvdIII } from "./asvd-iii.ts";
import { kfac } from "./kfac.ts";
import type { Method } from "./method.ts";
import { modegpt } from "./modegpt.ts";
import { nestable } from "./nested.ts";
import { nidI } from "./nid-i.ts";
import { nidII } from "./nid-ii.ts";
import { nsvdI } from "./nsvd-i.ts";
import { nsvdII } from "./nsvd-ii.ts";
import { ridge } from "./ridge.ts";
import { rom } from "./rom.ts";
import { saesSvd } from "./saes-svd.ts";
import { svd } from "./svd.ts";
import { svdLlm } from "./svd-llm.ts";

export const METHODS: readonly Method[] = [
  svd,
  asvd,
  svdLlm,
  asvdII,
  asvdIII,
  nsvdI,
  nsvdII,
  nidI,
  nidII,
  ridge,
  rom,
  kfac,
  aaSvd,
  saesSvd,
  modegpt,
].map(nestable);

/** @throws UsageError naming the known methods. */
export function methodNamed(name: string): Method {
  const found = METHODS.find((method) => method.name === name);
  if (found) return found;
  const names = METHODS.map((method) => method.name);
  const near = nearestName(name, names);
  throw new UsageError(`--method ${name} is not known; ${near ? `did you mean ${near}? ` : ""}known are ${names.join(", ")}`);
}
