// zstd, xxhash and SHA-256 as one chunk of ours, WebAssembly included: an app's bundler has no file to find and serve. zstd by
// paths, because its package exports only an entry that fetches the file, and waits for ever where it is not.
import { Module } from "../../node_modules/@bokuweb/zstd-wasm/dist/web/module.js";
import {
  compressUsingDict,
  createCCtx,
} from "../../node_modules/@bokuweb/zstd-wasm/dist/web/simple/compress_using_dict.js";
import { decompress } from "../../node_modules/@bokuweb/zstd-wasm/dist/web/simple/decompress.js";
import wasm from "../../node_modules/@bokuweb/zstd-wasm/dist/web/zstd.wasm?url&inline";
import type { ZstdWasm } from "../../src/format/zstd-wasm.ts";

export { sha256 } from "@noble/hashes/sha2.js";
export { default as instantiateXxhash } from "xxhash-wasm";

/** Throws where WebAssembly is forbidden: a Content-Security-Policy has to allow 'wasm-unsafe-eval'. */
export async function instantiateZstd(): Promise<ZstdWasm> {
  const bytes = Uint8Array.from(atob(wasm.slice(wasm.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  await new Promise<void>((resolve, reject) => {
    Module.onRuntimeInitialized = resolve;
    Module.instantiateWasm = (
      imports: WebAssembly.Imports,
      receive: (instance: WebAssembly.Instance) => void,
    ) => {
      WebAssembly.instantiate(bytes, imports).then(({ instance }) => receive(instance), reject);
      return {};
    };
    Module.init();
  });
  return { createCCtx, compressUsingDict, decompress };
}
