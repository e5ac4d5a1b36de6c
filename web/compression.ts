import type { Codecs } from "../src/format/codecs.ts";
import { zstdWasmCodec } from "../src/format/zstd-wasm.ts";
import { load } from "../src/load.ts";

let codecs: Promise<Codecs> | undefined;

/** zstd and xxhash as WebAssembly, loaded once: see zstd-wasm.ts. Throws where their chunk cannot be fetched. */
export function loadCodecs(): Promise<Codecs> {
  codecs ??= instantiate().catch((error) => {
    // A chunk may fail to load, and load the next time.
    codecs = undefined;
    throw error;
  });
  return codecs;
}

async function instantiate(): Promise<Codecs> {
  const { instantiateXxhash, instantiateZstd, sha256 } = await load(() => import("./bundled/codecs.ts"));
  const [{ h64Raw }, zstd] = await Promise.all([instantiateXxhash(), instantiateZstd()]);
  return { ...zstdWasmCodec(zstd), hash64: (bytes) => h64Raw(bytes), sha256: () => sha256.create() };
}
