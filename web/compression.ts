import * as zstd from "@bokuweb/zstd-wasm";
import { sha256 } from "@noble/hashes/sha2.js";
import xxhash from "xxhash-wasm";
import type { Codecs } from "../src/format/codecs.ts";
import { zstdWasmCodec } from "../src/format/zstd-wasm.ts";

/** Milliseconds. The library waits for ever where its module cannot be fetched. */
const loadTimeout = 30_000;

let codecs: Promise<Codecs> | undefined;

/** zstd and xxhash as WebAssembly. Throws where zstd.wasm cannot be fetched. Loaded once: see zstd-wasm.ts. */
export function loadCodecs(): Promise<Codecs> {
  codecs ??= load();
  return codecs;
}

async function load(): Promise<Codecs> {
  const [{ h64Raw }] = await Promise.all([xxhash(), initZstd()]);
  return { ...zstdWasmCodec(zstd), hash64: (bytes) => h64Raw(bytes), sha256: () => sha256.create() };
}

async function initZstd(): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    const error = new Error(
      "zstd.wasm of @bokuweb/zstd-wasm did not load: the bundler has to serve it beside that package",
    );
    timer = setTimeout(() => reject(error), loadTimeout);
  });
  await Promise.race([zstd.init(), timeout]).finally(() => clearTimeout(timer));
}
