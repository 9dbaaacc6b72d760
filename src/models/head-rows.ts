/** Which rows of a dense projection the rows of a narrower one stand for, head by head. e values a dense head. */
import type { Architecture, ModelConfig, RopePairs } from "./model.ts";

/** Rows of heads that keep rotary pairs: the first values of the pairs, then the second ones. */
export function pairRows(heads: number, pairs: RopePairs, e: number): Uint32Array {
  const ofHead = (h: number) => pairs[Math.floor((h * pairs.length) / heads)] as Uint32Array;
  const rows = (h: number) => [0, e / 2].flatMap((half) => Array.from(ofHead(h), (pair) => h * e + half + pair));
  return Uint32Array.from(Array.from({ length: heads }, (_, h) => rows(h)).flat());
}

/** Rows of heads that have `width` values of their own: the first ones of each dense head. */
function firstRows(heads: number, width: number, e: number): Uint32Array {
  return Uint32Array.from({ length: heads * width }, (_, i) => Math.floor(i / width) * e + (i % width));
}

/** Where a narrower block's rows and columns stand in the dense one, by projection; where absent, at the beginning. */
export interface Places {
  readonly rows: ReadonlyMap<string, Uint32Array>;
  readonly columns: ReadonlyMap<string, Uint32Array>;
}

export function placesOf(
  { heads: { query, key, value, output, shape } }: Architecture,
  config: ModelConfig,
  block: number,
): Places {
  const heads = shape(config);
  const pairs = config.ropePairs.get(block);
  const width = config.widths.get(block)?.value ?? heads.dim;
  const ofPairs = [query, key].map((name, i) => [name, i === 0 ? heads.query : heads.keyValue] as const);
  return {
    rows: new Map([
      ...(pairs ? ofPairs.map(([name, count]) => [name, pairRows(count, pairs, heads.dim)] as const) : []),
      [value, firstRows(heads.keyValue, width, heads.dim)],
    ]),
    columns: new Map([[output, firstRows(heads.query, width, heads.dim)]]),
  };
}
