/** Those who wait until a transaction is in the store. */
export class Waiters {
  readonly #waiting = new Set<{ txid: number; resolve: () => void; reject: (error: unknown) => void }>();

  get any(): boolean {
    return this.#waiting.size > 0;
  }

  /** Resolves when `settle` is called with at least `txid`; rejects when `fail` is called or the signal aborts. */
  wait(txid: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const waiter = {
        txid,
        resolve: () => leave(resolve),
        reject: (error: unknown) => leave(() => reject(error)),
      };
      const abort = () => waiter.reject(signal!.reason);
      const leave = (then: () => void) => {
        this.#waiting.delete(waiter);
        signal?.removeEventListener("abort", abort);
        then();
      };
      signal?.addEventListener("abort", abort);
      this.#waiting.add(waiter);
    });
  }

  settle(txid: number): void {
    for (const waiter of [...this.#waiting]) if (waiter.txid <= txid) waiter.resolve();
  }

  fail(error: unknown): void {
    for (const waiter of [...this.#waiting]) waiter.reject(error);
  }
}
