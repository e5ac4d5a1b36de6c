import type { Abi, Pointer, ResultCode } from "./abi.ts";
import { SQLITE_NOMEM, SQLITE_OK } from "./abi.ts";

/** A write of the base VFS through some connection's handle of the WAL. */
export type BaseWrite = (from: Pointer, amount: number, offset: number) => ResultCode;

/** Bytes. A commit larger than this reaches the base VFS in several writes. */
const CAPACITY = 1 << 18;

/**
 * Gathers the appending writes of one transaction into contiguous ones. SQLite writes each frame as two (header, page),
 * and a base VFS of the browser pays by the operation. There is one buffer for each database, not one for each handle:
 * stale bytes of one handle would land on the commit of another.
 *
 * A transaction appends while its writes begin where the last one ended (`mark`); any other write flushes and goes
 * straight through, since SQLite rewrites earlier frames of its own transaction. The buffer is empty whenever the write
 * lock is free.
 */
export class WalBuffer {
  readonly #abi: Abi;
  #memory: Pointer = 0;
  #start = 0;
  #length = 0;
  /** Where the next append begins; null until the transaction's first frame. */
  #mark: number | null = null;
  /** How to write what is gathered: by the handle that gathered it. */
  #write: BaseWrite | null = null;

  constructor(abi: Abi) {
    this.#abi = abi;
  }

  /** A transaction begins: its first frame may stand anywhere behind the last commit. */
  begin(): void {
    this.#mark = null;
  }

  write(write: BaseWrite, from: Pointer, amount: number, offset: number): ResultCode {
    const appends = this.#mark === null || offset === this.#mark;
    const header = offset === 0;
    if (!appends || header || amount > CAPACITY) {
      const code = this.flush();
      if (code !== SQLITE_OK) return code;
      if (appends && !header) this.#mark = offset + amount;
      return write(from, amount, offset);
    }
    if (this.#length + amount > CAPACITY) {
      const code = this.flush();
      if (code !== SQLITE_OK) return code;
    }
    if (this.#memory === 0) {
      this.#memory = this.#abi.allocate(CAPACITY);
      if (this.#memory === 0) return SQLITE_NOMEM;
    }
    if (this.#length === 0) this.#start = offset;
    this.#abi.bytes.copyWithin(this.#memory + this.#length, from, from + amount);
    this.#length += amount;
    this.#mark = offset + amount;
    this.#write = write;
    return SQLITE_OK;
  }

  /** Hands what is gathered to the base VFS. Whether that succeeds or not, the buffer is empty afterwards. */
  flush(): ResultCode {
    if (this.#length === 0) return SQLITE_OK;
    const amount = this.#length;
    this.#length = 0;
    return this.#write!(this.#memory, amount, this.#start);
  }

  free(): void {
    if (this.#memory !== 0) this.#abi.free(this.#memory);
    this.#memory = 0;
  }
}
