import { StoreError } from "../errors.ts";
import { unlessAborted } from "../store/idle-watch.ts";

/** Hands parts from the requests that bring them to the store that reads them: each when the store asks for it. */
export class PartPipe {
  /** The store waits for a part. */
  #take: ((part: Uint8Array | null) => void) | null = null;
  /** A part waits for the store. */
  #onTake: (() => void) | null = null;
  #ended = false;
  #read = false;

  /** The parts, once: what has gone through is not kept. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#read) throw new StoreError("unavailable", "the store asks for the parts of an upload again");
    this.#read = true;
    for (;;) {
      const part = await this.#next();
      if (part === null) return;
      yield part;
    }
  }

  /** Resolves when the store has taken the part; rejects, without that, when `signal` is aborted. One at a time. */
  async offer(part: Uint8Array, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#take === null) {
      const asked = new Promise<void>((resolve) => {
        this.#onTake = resolve;
      });
      await unlessAborted(asked, signal).finally(() => {
        this.#onTake = null;
      });
    }
    this.#take?.(part);
    this.#take = null;
  }

  /** No more parts. */
  end(): void {
    this.#ended = true;
    this.#take?.(null);
  }

  #next(): Promise<Uint8Array | null> {
    if (this.#ended) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#take = resolve;
      this.#onTake?.();
    });
  }
}
