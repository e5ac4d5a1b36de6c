/** Changes that keep most of what is valid, so that an input comes past the first check. */
import fc from "fast-check";

/** Where: a place counted from the beginning (0 and up) or from the end (below 0), taken modulo the length. */
type Place = number;

type ByteEdit =
  | { readonly kind: "flip"; readonly at: Place; readonly bit: number }
  | { readonly kind: "number"; readonly at: Place; readonly value: bigint; readonly size: 1 | 2 | 4 | 8 }
  | { readonly kind: "insert"; readonly at: Place; readonly bytes: Uint8Array }
  | { readonly kind: "remove" | "repeat" | "zero"; readonly at: Place; readonly length: number }
  | { readonly kind: "cut"; readonly at: Place };

const place = fc.oneof(
  fc.integer({ min: -200, max: 400 }),
  fc.integer({ min: -0x7fffffff, max: 0x7fffffff }),
);
/** What readers of lengths and counts trip over. */
const tellingNumber = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    2n,
    0x7fn,
    0xffn,
    0x7fffn,
    0xffffn,
    0x10000n,
    0x7fffffffn,
    0x80000000n,
    0xffffffffn,
  ),
  fc.constantFrom(
    0x100000000n,
    0x1fffffffffffffn,
    0x20000000000000n,
    0x7fffffffffffffffn,
    0xffffffffffffffffn,
  ),
  fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
);
const length = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 8192 }));

const byteEdit: fc.Arbitrary<ByteEdit> = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: place, bit: fc.nat(7) }),
  fc.record({
    kind: fc.constant("number" as const),
    at: place,
    value: tellingNumber,
    size: fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const),
  }),
  fc.record({
    kind: fc.constant("insert" as const),
    at: place,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
  }),
  fc.record({
    kind: fc.constantFrom("remove" as const, "repeat" as const, "zero" as const),
    at: place,
    length,
  }),
  fc.record({ kind: fc.constant("cut" as const), at: place }),
);
export const byteEdits = fc.array(byteEdit, { minLength: 1, maxLength: 4 });
/** Nearly always a single one, as what a disk or a wire does. */
export const fewByteEdits = fc.array(byteEdit, { minLength: 0, maxLength: 2 });

export function editBytes(bytes: Uint8Array, edits: readonly ByteEdit[]): Uint8Array<ArrayBuffer> {
  let edited = new Uint8Array(bytes);
  for (const edit of edits) edited = editOnce(edited, edit);
  return edited;
}

function editOnce(bytes: Uint8Array<ArrayBuffer>, edit: ByteEdit): Uint8Array<ArrayBuffer> {
  const at = bytes.length === 0 ? 0 : ((edit.at % bytes.length) + bytes.length) % bytes.length;
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (edit.kind) {
    case "flip":
      if (bytes.length > 0) bytes[at]! ^= 1 << edit.bit;
      return bytes;
    case "number":
      for (let i = 0; i < edit.size && at + i < bytes.length; i++)
        bytes[at + i] = Number((edit.value >> BigInt(8 * i)) & 0xffn);
      return bytes;
    case "insert":
      return joined(before, edit.bytes, after);
    case "remove":
      return joined(before, after.subarray(edit.length));
    case "repeat":
      return joined(before, after.subarray(0, edit.length), after);
    case "zero":
      after.fill(0, 0, edit.length);
      return bytes;
    case "cut":
      return bytes.slice(0, at);
  }
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}

interface JsonEdit {
  /** Which of the values in the document, modulo their number. */
  readonly at: number;
  /** What stands there then; undefined removes it. */
  readonly value: unknown;
}

/** What does not fit where it stands, or just about does. */
export const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, "", "0", "x", -1, 0, 1, 2, 0.5, 512, 65536, 65537, 0xffffffff),
  fc.constantFrom<unknown>(2 ** 32, 8.64e15, 8.64e15 + 1, 2 ** 53 - 1, 2 ** 53, 1e300, -1e300, "é", "\ud800"),
  fc.constantFrom<unknown>(
    [],
    {},
    [[]],
    { txid: 1 },
    "0".repeat(32),
    "f".repeat(32),
    "snapshot",
    "segment",
    "9".repeat(5000),
  ),
  fc.jsonValue(),
);
const jsonEdit: fc.Arbitrary<JsonEdit> = fc.record({
  at: fc.nat(),
  value: fc.oneof({ weight: 1, arbitrary: fc.constant(undefined) }, { weight: 8, arbitrary: oddValue }),
});
export const jsonEdits = fc.array(jsonEdit, { minLength: 1, maxLength: 3 });

/** A copy of a JSON document with some of its values, at any depth, replaced or gone. */
export function editJson(document: unknown, edits: readonly JsonEdit[]): unknown {
  const box = { document: structuredClone(document) };
  for (const { at, value } of edits) {
    const places = [...placesIn(box)];
    const { parent, name } = places[at % places.length]!;
    if (value === undefined && parent !== box) delete parent[name];
    else parent[name] = value === undefined ? null : structuredClone(value);
  }
  return box.document;
}

function* placesIn(value: object): Generator<{ parent: Record<string, unknown>; name: string }> {
  for (const name of Object.keys(value)) {
    const parent = value as Record<string, unknown>;
    yield { parent, name };
    const inner = parent[name];
    if (typeof inner === "object" && inner !== null) yield* placesIn(inner);
  }
}
