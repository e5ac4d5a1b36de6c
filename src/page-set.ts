import { BrokenReplicaError } from "./errors.ts";
import { lockBytePage } from "./format/layout.ts";

/** Which pages of a database are still to be had from older objects. A bit for each page number. */
export class PageSet {
  readonly #pageCount: number;
  readonly #taken: Uint8Array;

  constructor(pageSize: number, pageCount: number) {
    this.#pageCount = pageCount;
    this.#taken = new Uint8Array((pageCount >>> 3) + 1);
    const excluded = lockBytePage(pageSize);
    if (excluded <= pageCount) this.take(excluded); // stays a hole: zeros, as SQLite has it
  }

  needs(pgno: number): boolean {
    return pgno <= this.#pageCount && (this.#taken[pgno >>> 3]! & (1 << (pgno & 7))) === 0;
  }

  take(pgno: number): void {
    this.#taken[pgno >>> 3]! |= 1 << (pgno & 7);
  }

  /** Throws BrokenReplicaError where a page from `first` on was in no object. */
  requireAll(first: number, replica: string): void {
    for (let pgno = first; pgno <= this.#pageCount; pgno++)
      if (this.needs(pgno))
        throw new BrokenReplicaError(`${replica} has no object that holds page ${pgno}`, {});
  }
}
