/** Sums over the tokens of calibration text, held in native memory. */
import { ShapeError } from "../errors.ts";
import { call, native } from "./native.ts";
import { describe, type Tensor, wrap } from "./tensor.ts";

/** Adds up x x^T, x and |x| over rows x: f32 products a batch, f64 sums. */
export class TokenSums {
  readonly width: number;
  private readonly sums: InstanceType<typeof native.TokenSums>;
  /** Rows added so far. */
  tokens = 0;

  /** @param width values a row; `gram` false keeps only the moments. */
  constructor(width: number, { gram = true }: { gram?: boolean } = {}) {
    this.width = width;
    this.sums = call("TokenSums", () => new native.TokenSums(width, gram));
  }

  /** Adds the rows of x, t x n, f32. */
  add(x: Tensor): void {
    if (x.columns !== this.width) throw new ShapeError("TokenSums.add", `${this.width} columns`, describe(x));
    call("TokenSums.add", () => this.sums.add(x.handle));
    this.tokens += x.rows;
  }

  /** X^T X over all rows, n x n, f64, symmetric; handed over and not copied, so that nothing can be asked for or added later. */
  takeGram(): Tensor {
    return wrap("takeGram", () => this.sums.takeGram());
  }

  /** The lower triangle of X^T X, row by row: n (n + 1) / 2 values, f64. */
  triangle(): Tensor {
    return wrap("triangle", () => this.sums.triangle());
  }

  /** (3 + B) x n, f64: the sums of x, the sums of |x|, the largest |x|, and sqrt(t) mean(x) of each of B batches of t rows. */
  moments(): Tensor {
    return wrap("moments", () => this.sums.moments());
  }

  dispose(): void {
    this.sums.dispose();
  }
}

/** The symmetric matrix, n x n, of a lower triangle as `TokenSums.triangle` gives it. */
export function symmetric(triangle: Tensor, n: number): Tensor {
  return wrap("symmetric", () => native.symmetric(triangle.handle, n));
}
