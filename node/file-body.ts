import type { FileHandle } from "node:fs/promises";
import { StoreError } from "../src/errors.ts";
import { io } from "./store-errors.ts";

/** Bytes a body gives at a time. */
const CHUNK_BYTES = 1 << 20;

/** Part of an open file. Closes it when read to the end, returned from (even before the first step), or aborted. */
export class FileBody implements AsyncIterableIterator<Uint8Array> {
  #left: number;
  #at: number;
  readonly #from: number;
  #closed: Promise<void> | undefined;
  readonly #stop = () => void this.#close();

  constructor(
    private readonly handle: FileHandle,
    private readonly key: string,
    offset: number,
    length: number,
    private readonly signal: AbortSignal | undefined,
    private readonly into?: Uint8Array,
  ) {
    this.#from = offset;
    this.#at = offset;
    this.#left = length;
    signal?.addEventListener("abort", this.#stop, { once: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    try {
      this.signal?.throwIfAborted();
      if (this.#left === 0 || this.#closed !== undefined) return { done: true, value: undefined };
      const buffer = this.#room();
      const { bytesRead } = await io(this.key, this.handle.read(buffer, 0, buffer.length, this.#at));
      this.signal?.throwIfAborted();
      if (bytesRead === 0)
        throw new StoreError("unavailable", `${this.key}: its file was cut`, { key: this.key });
      this.#at += bytesRead;
      this.#left -= bytesRead;
      if (this.#left === 0) await this.#close();
      return { done: false, value: buffer.subarray(0, bytesRead) };
    } catch (error) {
      await this.#close();
      throw error;
    }
  }

  /** The rest of the reader's memory, or a chunk of its own. */
  #room(): Uint8Array {
    if (this.into === undefined) return new Uint8Array(Math.min(CHUNK_BYTES, this.#left));
    const at = this.#at - this.#from;
    return this.into.subarray(at, at + this.#left);
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    await this.#close();
    return { done: true, value: undefined };
  }

  #close(): Promise<void> {
    this.signal?.removeEventListener("abort", this.#stop);
    this.#closed ??= this.handle.close().catch(() => undefined);
    return this.#closed;
  }
}
