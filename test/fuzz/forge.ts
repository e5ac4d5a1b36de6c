import { createHash } from "node:crypto";
import fc from "fast-check";
import { partsOf } from "../format/objects.ts";
import { byteEdits, editBytes, editJson, fewByteEdits, joined, jsonEdits } from "./mutate.ts";

/** Changes of the parts of an object, by who knows the format. */
export interface Forgery {
  readonly header: Parameters<typeof editJson>[1];
  readonly blocks: Parameters<typeof editBytes>[1];
  readonly index: Parameters<typeof editBytes>[1];
  readonly trailer: Parameters<typeof editBytes>[1];
}
export const forgery: fc.Arbitrary<Forgery> = fc.record({
  header: fc.oneof(fc.constant([]), jsonEdits),
  blocks: fewByteEdits,
  index: fewByteEdits,
  trailer: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: byteEdits }),
});

/** The object with its parts changed, and with lengths, offsets and id that fit them. */
export function forge(
  bytes: Uint8Array,
  { header, blocks, index, trailer }: Forgery,
): Uint8Array<ArrayBuffer> {
  const parts = partsOf(bytes);
  const json = JSON.parse(new TextDecoder().decode(bytes.subarray(parts.header, parts.blocks)));
  const headerPayload = new TextEncoder().encode(JSON.stringify(editJson(json, header)) ?? "");
  const blockBytes = editBytes(bytes.subarray(parts.blocks, parts.index), blocks);
  const indexPayload = editBytes(bytes.subarray(parts.index + 8, parts.trailer), index);
  const entries = new DataView(joined(indexPayload, new Uint8Array(4)).buffer).getUint32(0, true);
  const id = createHash("sha256")
    .update(headerPayload)
    .update(indexPayload.subarray(0, 8 + 12 * entries))
    .digest()
    .subarray(0, 16);
  const frame = (magic: number, payload: Uint8Array) =>
    joined(uint32(magic), uint32(payload.length), payload);
  const before = joined(frame(0x184d2a5a, headerPayload), blockBytes);
  const indexFrame = frame(0x184d2a5b, indexPayload);
  const mark = new Uint8Array([0x53, 0x4c, 0x55, 0x49, 0x43, 0x45, 0, 1]);
  const trailerPayload = joined(uint64(before.length), uint64(indexFrame.length), id, mark);
  return joined(before, indexFrame, frame(0x184d2a5c, editBytes(trailerPayload, trailer)));
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function uint64(value: number): Uint8Array {
  return joined(uint32(value % 2 ** 32), uint32(Math.floor(value / 2 ** 32)));
}
