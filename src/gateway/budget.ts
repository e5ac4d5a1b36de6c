import { Refused } from "./refused.ts";

/** Milliseconds after which a client whose body finds no room may come again. */
const RETRY_AFTER_MS = 1000;

/** Bytes of bodies that are in memory at a time, of all callers and of each. */
export class Budget {
  readonly #total: number;
  readonly #share: number;
  #taken = 0;
  readonly #takenBy = new Map<string, number>();

  constructor(total: number, share: number) {
    this.#total = total;
    this.#share = share;
  }

  /** Takes room for a body; the function that is returned gives it back. Throws Refused where there is none. */
  take(caller: string, bytes: number): () => void {
    const before = this.#takenBy.get(caller) ?? 0;
    if (this.#taken + bytes > this.#total || before + bytes > this.#share)
      throw new Refused(503, "throttled", "too many bodies at a time", { retryAfterMs: RETRY_AFTER_MS });
    this.#add(caller, bytes);
    return () => this.#add(caller, -bytes);
  }

  #add(caller: string, bytes: number): void {
    this.#taken += bytes;
    const left = (this.#takenBy.get(caller) ?? 0) + bytes;
    if (left === 0) this.#takenBy.delete(caller);
    else this.#takenBy.set(caller, left);
  }
}
