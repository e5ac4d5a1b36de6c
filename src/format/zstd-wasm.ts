import type { Codecs } from "./codecs.ts";
import { requireContentSize } from "./zstd-frame.ts";

/** What both builds of @bokuweb/zstd-wasm export once their `init` has resolved. */
export interface ZstdWasm {
  createCCtx(): number;
  compressUsingDict(context: number, raw: Uint8Array, dictionary: Uint8Array, level: number): Uint8Array;
  decompress(frame: Uint8Array): Uint8Array;
}

/**
 * One compression context for all calls: making a new one costs more than packing a small block.
 *
 * The library keeps one instance for everybody, and its `init` called again (by the app, say) leaves functions of the old
 * instance beside the memory of the new one: from then on it packs garbage. So a frame is believed only if it states the
 * size that went in; what is unpacked is checked by the page hashes.
 */
export function zstdWasmCodec(zstd: ZstdWasm): Pick<Codecs, "compress" | "decompress"> {
  const context = zstd.createCCtx();
  const noDictionary = new Uint8Array(0);
  return {
    compress(raw, level) {
      const frame = zstd.compressUsingDict(context, raw, noDictionary, level);
      requireContentSize(frame, raw.length);
      return frame;
    },
    decompress(frame, rawLength) {
      requireContentSize(frame, rawLength); // The library allocates whatever the frame states.
      return zstd.decompress(frame);
    },
  };
}
