import { StoreError } from "../errors.ts";

declare function setTimeout(callback: () => void, ms: number): unknown;
declare function clearTimeout(timer: unknown): void;

/** Bytes a second below which a connection counts as dead, where progress cannot be seen chunk by chunk. */
const SLOWEST_BYTES_PER_SECOND = 32 * 1024;

/**
 * Ends a request that makes no progress, so that a server that hangs cannot hang us. `signal` aborts for three reasons:
 * the caller's own, "network" after `idleMs` without progress, and what `fail` is given.
 */
export class IdleWatch {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #onAbort = () => this.#controller.abort(this.#outer?.reason);
  #timer: unknown;

  constructor(
    readonly idleMs: number,
    signal: AbortSignal | undefined,
  ) {
    this.#outer = signal;
    if (signal?.aborted === true) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The other side has to move next, after `bytes` more have gone to it. */
  expectProgress(bytes = 0): void {
    clearTimeout(this.#timer);
    const ms = this.idleMs + (bytes / SLOWEST_BYTES_PER_SECOND) * 1000;
    this.#timer = setTimeout(() => {
      this.fail(new StoreError("network", `the store made no progress for ${Math.ceil(ms / 1000)} s`));
    }, ms);
  }

  /** We have to move next: time does not count. */
  rest(): void {
    clearTimeout(this.#timer);
  }

  fail(reason: unknown): void {
    this.end();
    this.#controller.abort(reason);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }
}

/** Settles as `promise` does, or rejects with the reason as soon as `signal` is aborted. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
