import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EngineError, ShapeError } from "../errors.ts";
import { call, native } from "./native.ts";
import { random } from "./random.test-helper.ts";
import { type DType, dispose, hcat, keep, scope, Tensor, vcat } from "./tensor.ts";

const sizes = fc.integer({ min: 1, max: 37 });

describe("scope", () => {
  test("frees what was made inside, but what it returns, however nested", () => {
    let inner: Tensor | undefined;
    const { kept, list } = scope(() => {
      inner = random(3, 3, 1);
      return { kept: random(2, 2, 2), list: [random(1, 2, 3)] };
    });
    expect(() => inner?.toFloat32Array()).toThrow(EngineError);
    expect(kept.toFloat32Array()).toHaveLength(4);
    expect(list[0]?.toFloat32Array()).toHaveLength(2);
    dispose([kept, list]);
    expect(() => kept.toFloat32Array()).toThrow(/disposed/);
  });

  test("what an inner scope returns dies with the outer one, unless it is kept", () => {
    const made: Tensor[] = [];
    scope(() => {
      made.push(
        scope(() => random(2, 2, 1)),
        keep(random(2, 2, 2)),
      );
    });
    expect(() => made[0]?.toFloat32Array()).toThrow(EngineError);
    expect(made[1]?.toFloat32Array()).toHaveLength(4);
    made[1]?.dispose();
  });

  test("frees everything when the work throws", () => {
    let inside: Tensor | undefined;
    expect(() =>
      scope(() => {
        inside = random(2, 2, 1);
        throw new ShapeError("test", "a", "b");
      }),
    ).toThrow(ShapeError);
    expect(() => inside?.toFloat32Array()).toThrow(EngineError);
  });

  test("gives native memory back at once", () => {
    const before = native.tensorBytesInUse();
    scope(() => {
      random(512, 512, 1).add(random(512, 512, 2));
      expect(native.tensorBytesInUse()).toBeGreaterThanOrEqual(before + 3 * 512 * 512 * 4);
    });
    expect(native.tensorBytesInUse()).toBe(before);
  });
});

/** That random a (m x k) times random b^T (b: n x k) is what a triple loop gives, within the rounding of f32 sums. */
function expectProduct(m: number, k: number, n: number, stored: DType = "f32") {
  scope(() => {
    const [a, b] = [random(m, k, 7), random(n, k, 8).to(stored)];
    const got = a.matmulTransposed(b).toFloat32Array();
    const [x, y] = [a.toFloat64Array(), b.toFloat64Array()];
    const errors = Array.from(got, (value, index) => {
      const [i, j] = [Math.floor(index / n), index % n];
      let sum = 0;
      for (let l = 0; l < k; l++) sum += (x[i * k + l] as number) * (y[j * k + l] as number);
      return Math.abs(value - sum);
    });
    expect(Math.max(...errors)).toBeLessThan(k * 2 ** -23);
  });
}

describe("tensors", () => {
  test("products agree with a triple loop on awkward shapes, views included", () => {
    fc.assert(
      fc.property(sizes, sizes, sizes, (m, k, n) => expectProduct(m, k, n)),
      { numRuns: 30 },
    );
  });

  test.each([
    [193, 130, 101],
    [101, 130, 193],
    [1, 700, 1201],
    [1201, 700, 1],
    [95, 6000, 2],
  ])("products large enough for threads to share agree too: %i x %i times %i", (m, k, n) => expectProduct(m, k, n));

  test("rows through weights kept as bf16 are multiplied by the very values", () => {
    const by = (m: number, k: number, n: number) => expectProduct(m, k, n, "bf16");
    fc.assert(fc.property(fc.integer({ min: 1, max: 9 }), sizes, sizes, by), { numRuns: 30 });
    for (const rows of [1, 4, 5]) by(rows, 577, 1201);
  });

  test("ranges, selections and joins undo one another", () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 2, max: 20 }), (m, n) =>
        scope(() => {
          const a = random(m, n, 5);
          const cut = Math.floor(n / 2);
          const same = hcat(a.columnRange(0, cut), a.columnRange(cut, n));
          expect(same.toFloat32Array()).toEqual(a.toFloat32Array());
          expect(
            vcat(a, a)
              .rowRange(m, 2 * m)
              .toFloat32Array(),
          ).toEqual(a.toFloat32Array());
          const reversed = Array.from({ length: n }, (_, i) => n - 1 - i);
          expect(a.selectColumns(reversed).selectColumns(reversed).toFloat32Array()).toEqual(a.toFloat32Array());
        }),
      ),
      { numRuns: 30 },
    );
  });

  test("bf16 keeps eight bits of the fraction", () => {
    scope(() => {
      const a = random(9, 11, 3);
      const [x, y] = [a.toFloat32Array(), a.to("bf16").to("f32").toFloat32Array()];
      x.forEach((value, i) => {
        expect(Math.abs((y[i] as number) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -8);
      });
    });
  });

  test("isFinite sees a single NaN or infinity anywhere", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const at of [0, 4095, 4096, 9999]) {
        const values = new Float32Array(10_000).fill(1e30);
        values[at] = bad;
        scope(() => expect(Tensor.from(values, [100, 100]).isFinite()).toBe(false));
      }
    }
    scope(() => expect(Tensor.from(new Float32Array(10_000).fill(3e38), [100, 100]).isFinite()).toBe(true));
  });

  test("shapes that do not fit are refused before the engine sees them", () => {
    scope(() => {
      const a = random(2, 3, 1);
      expect(() => a.matmul(random(2, 3, 2))).toThrow(ShapeError);
      expect(() => a.add(random(3, 2, 2))).toThrow(ShapeError);
      expect(() => a.reshape(7)).toThrow(ShapeError);
      expect(() => a.rowRange(1, 3)).toThrow(ShapeError);
      expect(() => a.selectRows([2])).toThrow(ShapeError);
      expect(() => Tensor.from(new Float32Array(5), [2, 3])).toThrow(ShapeError);
      expect(() => a.matmul(random(3, 2, 2).to("f64"))).toThrow(ShapeError);
    });
  });

  test("a panic in the engine becomes an error, and the process goes on", () => {
    scope(() => {
      const logits = random(1, 4, 1);
      expect(() => call("panic", () => native.negativeLogLikelihood(logits.handle, Uint32Array.of(9)))).toThrow(EngineError);
      expect(logits.toFloat32Array()).toHaveLength(4);
    });
  });
});
