/**
 * Dense row-major tensors in memory outside the JavaScript heap. Immutable by convention: every operation gives a new one.
 * Memory is released at a known moment: `scope` frees all that was made inside it, but what it returns.
 */
import type * as Binding from "../../native/binding.d.ts";
import { ShapeError } from "../errors.ts";
import { call, native } from "./native.ts";

export type DType = "f32" | "f64" | "bf16" | "f16" | "u32";

export const BYTES: Readonly<Record<DType, number>> = { f32: 4, f64: 8, bf16: 2, f16: 2, u32: 4 };

/** Tensors made inside each open scope, innermost last. */
const scopes: Tensor[][] = [];

/** How a gradient flows back through an operation. */
export interface Derivative {
  readonly inputs: readonly Tensor[];
  /** What `backward` reads; by default the inputs. */
  readonly reads?: readonly Tensor[];
  /**
   * The gradient of each input from that of the output, as functions where each can be worked out alone. Absent where nobody
   * has asked for one yet.
   */
  backward?(gradient: Tensor): readonly (Tensor | (() => Tensor))[];
}

/** Told of every operation while a recording is made (autograd.ts). */
export interface Recorder {
  note(operation: string, output: Tensor, derivative: Derivative | undefined): void;
  /** Whether it takes over a tensor that its scope would free now. */
  adopt(tensor: Tensor): boolean;
}

let recorder: Recorder | undefined;

/** Runs `work` before the eyes of a recorder, or of none. */
export function watchedBy<T>(next: Recorder | undefined, work: () => T): T {
  const before = recorder;
  recorder = next;
  try {
    return work();
  } finally {
    recorder = before;
  }
}

export class Tensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** The native object; for `src/tensor` alone. */
  readonly handle: Binding.Tensor;

  constructor(handle: Binding.Tensor) {
    this.handle = handle;
    this.shape = handle.shape;
    this.dtype = handle.dtype as DType;
    scopes.at(-1)?.push(this);
  }

  static from(values: Float32Array | Float64Array | Uint32Array, shape: readonly number[]): Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    if (size !== values.length) throw new ShapeError("Tensor.from", `${size} values`, `${values.length}`);
    const dims = [...shape];
    return wrap("Tensor.from", () => {
      if (values instanceof Float64Array) return native.Tensor.fromF64(values, dims);
      if (values instanceof Uint32Array) return native.Tensor.fromU32(values, dims);
      return native.Tensor.fromF32(values, dims);
    });
  }

  static zeros(shape: readonly number[], dtype: DType = "f32"): Tensor {
    return wrap("zeros", () => native.Tensor.zeros([...shape], dtype));
  }

  /** Number of rows of a matrix. */
  get rows(): number {
    return this.dimensions(2)[0];
  }

  /** Number of columns of a matrix. */
  get columns(): number {
    return this.dimensions(2)[1];
  }

  /** Number of values. */
  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  get bytes(): number {
    return this.size * BYTES[this.dtype];
  }

  private dimensions(count: 2): [number, number] {
    if (this.shape.length !== count) throw new ShapeError("matrix", "two dimensions", describe(this));
    return this.shape as unknown as [number, number];
  }

  /** Frees the memory now; using the tensor afterwards is an error. */
  dispose(): void {
    this.handle.dispose();
  }

  /** A copy of the values as f32. */
  toFloat32Array(): Float32Array {
    return call("toFloat32Array", () => this.handle.toF32());
  }

  /** A copy of the values as f64. */
  toFloat64Array(): Float64Array {
    return call("toFloat64Array", () => this.handle.toF64());
  }

  /** The same values in another dtype; the tensor itself when it has it already. */
  to(dtype: DType): Tensor {
    return dtype === this.dtype ? this : wrap("to", () => this.handle.cast(dtype));
  }

  reshape(...shape: number[]): Tensor {
    if (shape.reduce((a, b) => a * b, 1) !== this.size) throw new ShapeError("reshape", `${this.size} values`, `[${shape}]`);
    return wrap("reshape", () => this.handle.reshape(shape));
  }

  /** The transposed matrix, a view. */
  get T(): Tensor {
    this.dimensions(2);
    return wrap("transpose", () => this.handle.transpose());
  }

  /** The same values in row order, for a view that is not. */
  contiguous(): Tensor {
    return wrap("contiguous", () => this.handle.contiguous(), { inputs: [this], reads: [], backward: (gradient) => [gradient] });
  }

  /** Rows `start` up to `end` (not included), a view. */
  rowRange(start: number, end: number): Tensor {
    return this.range(0, start, end);
  }

  /** Columns `start` up to `end` (not included), a view. */
  columnRange(start: number, end: number): Tensor {
    return this.range(1, start, end);
  }

  private range(dimension: number, start: number, end: number): Tensor {
    const length = this.shape[dimension] ?? 0;
    if (start < 0 || end < start || end > length)
      throw new ShapeError("range", `0 <= start <= end <= ${length}`, `${start}, ${end}`);
    return wrap("range", () => this.handle.narrow(dimension, start, end - start), {
      inputs: [this],
      reads: [],
      backward: (gradient) => [padded(gradient, dimension, start, length - end)],
    });
  }

  /** The rows that `indices` names, in that order. */
  selectRows(indices: ArrayLike<number>): Tensor {
    return this.select(0, indices);
  }

  /** The columns that `indices` names, in that order. */
  selectColumns(indices: ArrayLike<number>): Tensor {
    return this.select(1, indices);
  }

  private select(dimension: number, indices: ArrayLike<number>): Tensor {
    const length = this.shape[dimension] ?? 0;
    const ids = Uint32Array.from(indices);
    if (ids.some((id) => id >= length)) throw new ShapeError("select", `indices below ${length}`, `${Math.max(...ids)}`);
    return wrap("select", () => this.handle.select(dimension, ids), { inputs: [this] });
  }

  /** Entry by entry; the other tensor is repeated along dimensions of length 1. */
  add(other: Tensor): Tensor {
    return this.entrywise("add", other, {
      inputs: [this, other],
      reads: [],
      backward: (gradient) => [gradient, () => summedTo(gradient, other)],
    });
  }

  sub(other: Tensor): Tensor {
    return this.entrywise("sub", other);
  }

  mul(other: Tensor): Tensor {
    return this.entrywise("mul", other);
  }

  div(other: Tensor): Tensor {
    return this.entrywise("div", other);
  }

  private entrywise(operation: "add" | "sub" | "mul" | "div", other: Tensor, derivative?: Derivative): Tensor {
    const fits = other.shape.every((n, i) => n === 1 || n === this.shape[i + this.shape.length - other.shape.length]);
    if (!fits || other.dtype !== this.dtype)
      throw new ShapeError(operation, `${describe(this)} or a shape that repeats to it`, describe(other));
    return wrap(operation, () => this.handle[operation](other.handle), derivative);
  }

  scale(factor: number): Tensor {
    return wrap("scale", () => this.handle.affine(factor, 0));
  }

  /** `factor` times each value, plus `addend`. */
  affine(factor: number, addend: number): Tensor {
    return wrap("affine", () => this.handle.affine(factor, addend));
  }

  power(exponent: number): Tensor {
    return wrap("power", () => this.handle.power(exponent));
  }

  abs(): Tensor {
    return wrap("abs", () => this.handle.abs());
  }

  /** Each row's sum, m x 1. */
  rowSums(): Tensor {
    return wrap("rowSums", () => this.handle.sum(1));
  }

  /** Each column's sum, 1 x n. */
  columnSums(): Tensor {
    return wrap("columnSums", () => this.handle.sum(0));
  }

  /** Squared Frobenius norm. */
  sumOfSquares(): number {
    return call("sumOfSquares", () => this.handle.sumOfSquares());
  }

  isFinite(): boolean {
    return call("isFinite", () => this.handle.isFinite());
  }

  /** Matrix product, m x k times k x n. */
  matmul(other: Tensor): Tensor {
    if (this.columns !== other.rows || this.dtype !== other.dtype)
      throw new ShapeError("matmul", `${this.dtype} of ${this.columns} rows`, describe(other));
    return wrap("matmul", () => this.handle.matmul(other.handle));
  }

  /** This matrix times another transposed, t x n times (m x n)^T: rows through a linear map, whose weights may be bf16. */
  matmulTransposed(other: Tensor): Tensor {
    const fits = this.dtype === other.dtype || (this.dtype === "f32" && other.dtype === "bf16");
    if (this.columns !== other.columns || !fits)
      throw new ShapeError("matmulTransposed", `${this.dtype} of ${this.columns} columns`, describe(other));
    const transposed = other.handle.transpose();
    try {
      return wrap("matmulTransposed", () => this.handle.matmul(transposed), {
        inputs: [this, other],
        backward: (gradient) => [() => gradient.matmul(other), () => scope(() => gradient.T.matmul(this))],
      });
    } finally {
      transposed.dispose();
    }
  }
}

/** A gradient added up along the columns where a single row was repeated. */
function summedTo(gradient: Tensor, { shape }: Tensor): Tensor {
  return shape[0] === 1 && gradient.rows > 1 ? gradient.columnSums() : gradient;
}

/** Wraps a native result, registered with the open scope. */
export function wrap(operation: string, run: () => Binding.Tensor, derivative?: Derivative): Tensor {
  const output = new Tensor(call(operation, run));
  recorder?.note(operation, output, derivative);
  return output;
}

/** Wraps several results of one native operation. */
export function wrapAll(operation: string, run: () => Binding.Tensor[]): Tensor[] {
  return call(operation, run).map((handle) => wrap(operation, () => handle));
}

/** For messages: dtype and shape. */
export function describe(tensor: Tensor): string {
  return `${tensor.dtype}[${tensor.shape.join(" x ")}]`;
}

/** Joins matrices side by side. */
export function hcat(...parts: Tensor[]): Tensor {
  return joined("hcat", parts, 1);
}

/** Stacks matrices one below the other. */
export function vcat(...parts: Tensor[]): Tensor {
  return joined("vcat", parts, 0);
}

function joined(operation: string, parts: readonly Tensor[], dimension: 0 | 1): Tensor {
  const handles = parts.map(({ handle }) => handle);
  return wrap(operation, () => native.concatenate(handles, dimension), {
    inputs: parts,
    reads: [],
    backward(gradient) {
      let start = 0;
      return parts.map((part) => {
        start += part.shape[dimension] as number;
        return rangeOf(gradient, dimension, start - (part.shape[dimension] as number), start);
      });
    },
  });
}

function rangeOf(x: Tensor, dimension: 0 | 1, start: number, end: number): Tensor {
  return scope(() => (dimension === 0 ? x.rowRange(start, end) : x.columnRange(start, end)).contiguous());
}

/** With so many rows or columns of zeros before and after it. */
function padded(x: Tensor, dimension: number, before: number, after: number): Tensor {
  return scope(() => {
    const zeros = (length: number) => Tensor.zeros(dimension === 0 ? [length, x.columns] : [x.rows, length], x.dtype);
    const parts = [...(before > 0 ? [zeros(before)] : []), x, ...(after > 0 ? [zeros(after)] : [])];
    return parts.length === 1 ? x.reshape(...x.shape) : (dimension === 0 ? vcat : hcat)(...parts);
  });
}

/**
 * Runs `work` and frees every tensor made inside it, but those in what it returns (a tensor, or arrays and plain objects of
 * them): these pass to the scope around. Frees all when `work` throws.
 */
export function scope<T>(work: () => T): T {
  const made: Tensor[] = [];
  scopes.push(made);
  let kept = new Set<Tensor>();
  try {
    const result = work();
    kept = new Set(tensorsIn(result));
    return result;
  } finally {
    scopes.pop();
    for (const tensor of made) if (!kept.has(tensor) && !recorder?.adopt(tensor)) tensor.dispose();
    const outer = scopes.at(-1);
    if (outer) outer.push(...[...kept].filter((tensor) => made.includes(tensor)));
  }
}

/** Takes tensors out of every open scope: they live until they are disposed. */
export function keep<T>(value: T): T {
  const tensors = new Set(tensorsIn(value));
  for (const made of scopes) {
    for (let i = made.length - 1; i >= 0; i--) if (tensors.has(made[i] as Tensor)) made.splice(i, 1);
  }
  return value;
}

/** Frees the tensors in a value, however nested. */
export function dispose(value: unknown): void {
  for (const tensor of tensorsIn(value)) tensor.dispose();
}

function* tensorsIn(value: unknown): Generator<Tensor> {
  if (value instanceof Tensor) yield value;
  else if (value instanceof Map) for (const item of value.values()) yield* tensorsIn(item);
  else if (Array.isArray(value)) for (const item of value) yield* tensorsIn(item);
  else if (isPlainObject(value)) for (const item of Object.values(value)) yield* tensorsIn(item);
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
