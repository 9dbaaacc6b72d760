/** Builds an ONNX graph node by node. Values are known by their names; weights and large constants go to files beside it. */
import type { Tensor } from "../tensor/index.ts";
import { type Attribute, type Element, encodeModel, type Initializer, type OnnxNode, type OnnxValue } from "./onnx.ts";
import type { ExternalData } from "./onnx-data.ts";

/** Of the operators: ONNX's own, and those that onnxruntime adds. */
const OPSETS = { "": 21, "com.microsoft": 1 };
const IR_VERSION = 10;
/** Smaller constants stay in the message. */
const EXTERNAL_FROM_BYTES = 4096;

export interface NodeOptions {
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
  /** The name of the node's only output; made up when absent. */
  readonly output?: string;
}

export class OnnxGraph {
  private readonly nodes: OnnxNode[] = [];
  private readonly initializers = new Map<string, Initializer>();
  private readonly inputs: OnnxValue[] = [];
  private readonly outputs: OnnxValue[] = [];
  private readonly data: ExternalData;

  constructor(data: ExternalData) {
    this.data = data;
  }

  input(value: OnnxValue): string {
    this.inputs.push(value);
    return value.name;
  }

  output(value: OnnxValue): string {
    this.outputs.push(value);
    return value.name;
  }

  /** Adds a node of one output and gives that output's name. */
  node(operator: string, inputs: readonly string[], { attributes = {}, domain = "", output }: NodeOptions = {}): string {
    const name = output ?? `${operator}_${this.nodes.length}`;
    this.nodes.push({ name, operator, domain, inputs, outputs: [name], attributes });
    return name;
  }

  /** Whole numbers, as shapes and axes are given; equal ones are one constant. */
  integers(...values: number[]): string {
    const name = `integers_${values.join("_")}`;
    return this.add(name, "i64", [values.length], new Uint8Array(BigInt64Array.from(values, BigInt).buffer));
  }

  /** One whole number without a dimension. */
  integer(value: number): string {
    return this.add(`integer_${value}`, "i64", [], new Uint8Array(BigInt64Array.of(BigInt(value)).buffer));
  }

  /** A named tensor of f32 or f16. */
  tensor(name: string, tensor: Tensor): string {
    return this.add(name, tensor.dtype as "f32" | "f16", tensor.shape, tensor);
  }

  bytes(name: string, shape: readonly number[], values: Uint8Array): string {
    return this.add(name, "u8", shape, values);
  }

  /** Another name and shape for a constant's bytes, which are stored once. */
  alias(name: string, of: string, shape: readonly number[]): string {
    const initializer = this.initializers.get(of) as Initializer;
    this.initializers.set(name, { ...initializer, name, shape });
    return name;
  }

  /** A shared f32 number without a dimension. */
  number(value: number): string {
    return this.add(`number_${value}`, "f32", [], new Uint8Array(Float32Array.of(value).buffer));
  }

  private add(name: string, element: Element, shape: readonly number[], values: Uint8Array | Tensor): string {
    if (!this.initializers.has(name)) this.initializers.set(name, { name, element, shape, values: this.place(values) });
    return name;
  }

  private place(values: Uint8Array | Tensor): Initializer["values"] {
    if (values instanceof Uint8Array) return values.length < EXTERNAL_FROM_BYTES ? values : this.data.append(values);
    const isSmall = values.bytes < EXTERNAL_FROM_BYTES && values.dtype === "f32";
    return isSmall ? new Uint8Array(values.toFloat32Array().buffer) : this.data.append(values);
  }

  /** The `.onnx` file. */
  encode(producer: { name: string; version: string }): Uint8Array {
    const { nodes, inputs, outputs } = this;
    const graph = { name: "decoder", nodes, inputs, outputs, initializers: [...this.initializers.values()] };
    return encodeModel({ producer, opsets: OPSETS, irVersion: IR_VERSION, graph });
  }
}
