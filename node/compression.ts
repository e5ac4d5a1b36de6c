import { createHash } from "node:crypto";
import zlib from "node:zlib";
import xxhash from "xxhash-wasm";
import type { Codecs } from "../src/format/codecs.ts";
import { requireContentSize } from "../src/format/zstd-frame.ts";
import { zstdWasmCodec } from "../src/format/zstd-wasm.ts";

let codecs: Promise<Codecs> | undefined;

/** zstd of node:zlib where Node has it (22.15), else as WebAssembly. Loaded once: see zstd-wasm.ts. */
export function loadCodecs(): Promise<Codecs> {
  codecs ??= load();
  return codecs;
}

async function load(): Promise<Codecs> {
  const { h64Raw } = await xxhash();
  return {
    ...(nativeZstd() ?? (await wasmZstd())),
    hash64: (bytes) => h64Raw(bytes),
    sha256: () => createHash("sha256"),
  };
}

type Zstd = Pick<Codecs, "compress" | "decompress">;

/** The part of node:zlib that @types/node 20 does not know. */
interface ZlibWithZstd {
  readonly zstdCompressSync?: (raw: Uint8Array, options: object) => Buffer;
  readonly zstdDecompressSync?: (frame: Uint8Array, options: object) => Buffer;
  readonly constants: { readonly ZSTD_c_compressionLevel?: number };
}

function nativeZstd(): Zstd | null {
  const { zstdCompressSync, zstdDecompressSync, constants } = zlib as unknown as ZlibWithZstd;
  const levelParameter = constants.ZSTD_c_compressionLevel;
  if (!zstdCompressSync || !zstdDecompressSync || levelParameter === undefined) return null;
  return {
    compress: (raw, level) => plain(zstdCompressSync(raw, { params: { [levelParameter]: level } })),
    decompress(frame, rawLength) {
      requireContentSize(frame, rawLength);
      return whole(zstdDecompressSync(frame, boundedTo(rawLength)), rawLength);
    },
  };
}

function boundedTo(rawLength: number): object {
  return { chunkSize: Math.max(64, rawLength), maxOutputLength: Math.max(1, rawLength) };
}

/** A frame that is cut off ends early, without an error. */
function whole(raw: Buffer, rawLength: number): Uint8Array {
  if (raw.length === rawLength) return plain(raw);
  throw new Error(`zstd frame is cut off after ${raw.length} of ${rawLength} bytes`);
}

/** Not a Buffer, whose `slice` does not copy. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

async function wasmZstd(): Promise<Zstd> {
  const zstd = await import("@bokuweb/zstd-wasm");
  await zstd.init();
  return zstdWasmCodec(zstd);
}
