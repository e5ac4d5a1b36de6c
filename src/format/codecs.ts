/**
 * zstd's level of all that is packed, mostly on the application's thread. Measured on SQLite's pages in WebAssembly: level 3
 * takes twice as long, for objects between 2 % smaller and 4 % larger.
 */
export const zstdLevel = 1;

/** The compression and hashing that the portable core asks of its platform; all synchronous, so that a gate can drain. */
export interface Codecs {
  /** One zstd frame that states its content size. The result is the caller's. */
  compress(raw: Uint8Array, level: number): Uint8Array;
  /**
   * Unpacks one zstd frame. Throws RangeError, before allocating, unless the frame itself states exactly `rawLength`
   * bytes, and Error when it is damaged. The result is the caller's.
   */
  decompress(frame: Uint8Array, rawLength: number): Uint8Array;
  /** xxh64 with seed 0. */
  hash64(bytes: Uint8Array): bigint;
  sha256(): Sha256;
}

export interface Sha256 {
  update(bytes: Uint8Array): void;
  /** 32 bytes. Once only. */
  digest(): Uint8Array;
}
