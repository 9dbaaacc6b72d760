/**
 * The few messages of an ONNX model that rankfold writes, as protocol buffers (onnx.ai/onnx/repo-docs/IR.html). Field numbers
 * stand beside the fields; large values lie in files of their own, so a message stays small whatever the model's size.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** Element types by their numbers in TensorProto.DataType. */
export const ELEMENT = { f32: 1, u8: 2, i64: 7, bool: 9, f16: 10 } as const;
export type Element = keyof typeof ELEMENT;

export interface Attribute {
  readonly int?: number;
  readonly float?: number;
  readonly ints?: readonly number[];
}

export interface OnnxNode {
  readonly name: string;
  readonly operator: string;
  /** Empty for the operators of ONNX itself. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** Bytes in a file beside the model. */
export interface ExternalBytes {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/** A constant: little-endian bytes within the message, or a place outside it. */
export interface Initializer {
  readonly name: string;
  readonly element: Element;
  readonly shape: readonly number[];
  readonly values: Uint8Array | ExternalBytes;
}

/** An input or output; a dimension is a length, or a name for one that varies. */
export interface OnnxValue {
  readonly name: string;
  readonly element: Element;
  readonly shape: readonly (number | string)[];
}

export interface OnnxModel {
  readonly producer: { readonly name: string; readonly version: string };
  /** Domain -> version. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly irVersion: number;
  readonly graph: {
    readonly name: string;
    readonly nodes: readonly OnnxNode[];
    readonly initializers: readonly Initializer[];
    readonly inputs: readonly OnnxValue[];
    readonly outputs: readonly OnnxValue[];
  };
}

/** The bytes of the `.onnx` file. */
export function encodeModel({ producer, opsets, irVersion, graph }: OnnxModel): Uint8Array {
  const model = new Message().int(1, irVersion).text(2, producer.name).text(3, producer.version);
  model.message(7, (m) => {
    for (const node of graph.nodes) m.message(1, (n) => encodeNode(n, node));
    m.text(2, graph.name);
    for (const initializer of graph.initializers) m.message(5, (t) => encodeInitializer(t, initializer));
    for (const input of graph.inputs) m.message(11, (v) => encodeValue(v, input));
    for (const output of graph.outputs) m.message(12, (v) => encodeValue(v, output));
  });
  for (const [domain, version] of Object.entries(opsets)) model.message(8, (m) => m.text(1, domain).int(2, version));
  return model.finish();
}

/** NodeProto. An empty input name is an optional input left out, and must be written. */
function encodeNode(m: Message, { name, operator, domain, inputs, outputs, attributes }: OnnxNode): void {
  for (const input of inputs) m.text(1, input);
  for (const output of outputs) m.text(2, output);
  m.text(3, name).text(4, operator);
  for (const [key, attribute] of Object.entries(attributes)) m.message(5, (a) => encodeAttribute(a, key, attribute));
  m.text(7, domain);
}

/** AttributeProto; field 20 says which of the others holds the value. */
function encodeAttribute(m: Message, name: string, { int, float, ints }: Attribute): void {
  m.text(1, name);
  if (float !== undefined) m.float(2, float).int(20, 1);
  if (int !== undefined) m.int(3, int).int(20, 2);
  if (ints) for (const value of ints) m.int(8, value);
  if (ints) m.int(20, 7);
}

/** TensorProto; data_location 1 means external. */
function encodeInitializer(m: Message, { name, element, shape, values }: Initializer): void {
  for (const length of shape) m.int(1, length);
  m.int(2, ELEMENT[element]).text(8, name);
  if (values instanceof Uint8Array) {
    m.bytes(9, values);
    return;
  }
  const place = { location: values.file, offset: String(values.offset), length: String(values.length) };
  for (const [key, value] of Object.entries(place)) m.message(13, (entry) => entry.text(1, key).text(2, value));
  m.int(14, 1);
}

/** ValueInfoProto { name, TypeProto { tensor_type { elem_type, TensorShapeProto { dim... } } } }. */
function encodeValue(m: Message, { name, element, shape }: OnnxValue): void {
  const dimensions = (s: Message) => {
    for (const length of shape) s.message(1, (d) => (typeof length === "number" ? d.int(1, length) : d.text(2, length)));
  };
  m.text(1, name).message(2, (type) => type.message(1, (t) => t.int(1, ELEMENT[element]).message(2, dimensions)));
}

/** Fields in the order they are written. */
class Message {
  private readonly writer: BinaryWriter;

  constructor(writer = new BinaryWriter()) {
    this.writer = writer;
  }

  int(field: number, value: number): this {
    this.writer.tag(field, WireType.Varint).int64(value);
    return this;
  }

  float(field: number, value: number): this {
    this.writer.tag(field, WireType.Bit32).float(value);
    return this;
  }

  text(field: number, value: string): this {
    this.writer.tag(field, WireType.LengthDelimited).string(value);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.writer.tag(field, WireType.LengthDelimited).bytes(value);
    return this;
  }

  message(field: number, write: (message: Message) => void): this {
    this.writer.tag(field, WireType.LengthDelimited).fork();
    write(this);
    this.writer.join();
    return this;
  }

  finish(): Uint8Array {
    return this.writer.finish();
  }
}
