import { expect, test } from "vitest";
import { openObject } from "../../src/format/decode.ts";
import { ObjectEncoder } from "../../src/format/encode.ts";
import { loadCodecs } from "../../web/compression.ts";

const codecs = await loadCodecs();
const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

test("SHA-256 and xxh64 of the empty string and of abc", () => {
  const hash = codecs.sha256();
  hash.update(new TextEncoder().encode("a"));
  hash.update(new TextEncoder().encode("bc"));
  expect(hex(hash.digest())).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(codecs.hash64(new Uint8Array(0))).toBe(0xef46db3751d8e999n);
  expect(codecs.hash64(new TextEncoder().encode("abc"))).toBe(0x44bc2cf5ad770999n);
});

test("a frame that states another size is refused", () => {
  const packed = codecs.compress(new Uint8Array(1000), 3);
  expect(codecs.decompress(packed, 1000)).toEqual(new Uint8Array(1000));
  expect(() => codecs.decompress(packed, 2 ** 32)).toThrow(RangeError);
});

test("a segment goes through", async () => {
  const id = "00112233445566778899aabbccddeeff";
  const encoder = new ObjectEncoder(
    {
      format: 1,
      features: [],
      lineage: id,
      kind: "segment",
      pageSize: 4096,
      pageCount: 200,
      from: { txid: 0, id },
      to: { txid: 1, id: null },
      writer: id,
      created: 1,
      commits: { first: 1, last: 1 },
    },
    codecs,
    3,
  );
  const chunks = [encoder.start()];
  for (let pgno = 1; pgno <= 200; pgno++) {
    const block = encoder.page(pgno, new Uint8Array(4096).fill(pgno));
    if (block) chunks.push(block);
  }
  const finished = encoder.finish();
  const bytes = new Uint8Array(await new Blob([...chunks, finished.chunk] as BlobPart[]).arrayBuffer());
  const source = {
    key: "k",
    size: bytes.length,
    read: async (at: number, length: number) => bytes.slice(at, at + length),
  };
  const object = await openObject(source, codecs);
  expect(object.to).toEqual({ txid: 1, id: finished.id });
  for (let b = 0; b < object.blockCount; b++) {
    const block = object.decodeBlock(b, await object.read(object.blockRange(b)));
    for (let j = 0; j < block.count; j++) {
      expect(block.page(j)).toEqual(new Uint8Array(4096).fill(object.pgnos[block.firstEntry + j]!));
    }
  }
});
