import { sha256 } from "@noble/hashes/sha2.js";
import { StoreError } from "../errors.ts";
import { PartPipe } from "./part-pipe.ts";
import { Refused } from "./refused.ts";

/** Begins to store an object whose bytes are to come: the store's `put` or `putStream`. */
export type StoreWrite = (chunks: () => AsyncIterable<Uint8Array>, signal: AbortSignal) => Promise<void>;

/**
 * One object on its way in parts. The store's write is under way from the first part to the last, and takes the bytes as they
 * come: a store that waits for a whole part on a slow line would think its writer dead. Each verb may come twice, after an
 * answer or a connection that was lost, and does the same as once.
 */
export class Upload {
  readonly #pipe = new PartPipe();
  readonly #stop = new AbortController();
  readonly #ended = new AbortController();
  /** Never rejects. */
  readonly #outcome: Promise<{ readonly error?: unknown }>;
  readonly #maxBytes: number;
  #turn: Promise<unknown> = Promise.resolve();
  #parts = 0;
  /** Of the parts that are there. */
  #bytes = 0;
  /** Of the next part: what the store has taken of it already. */
  #taken = new Taken();
  /** The last part. */
  #last = new Taken();
  #settled = false;
  #completing = false;

  /** `key`: the caller's; `maxBytes`: of the whole object. */
  constructor(
    readonly key: string,
    maxBytes: number,
    write: StoreWrite,
  ) {
    this.#maxBytes = maxBytes;
    const writing = Promise.resolve().then(() => write(() => this.#pipe.chunks(), this.#stop.signal));
    this.#outcome = writing.then(
      () => ({}),
      (error: unknown) => ({ error }),
    );
    this.#outcome.then(({ error }) => {
      this.#settled = true;
      this.#ended.abort(error ?? new StoreError("unavailable", "the store ended before the upload did"));
    });
  }

  /** Whether it is over, and only its outcome is kept. */
  get settled(): boolean {
    return this.#settled;
  }

  /** Bytes that the store has taken: it grows while there is a client. */
  get progress(): number {
    return this.#bytes + this.#taken.bytes;
  }

  /** Whether all parts are there, so that it no longer waits for its client. */
  get completing(): boolean {
    return this.#completing && !this.#settled;
  }

  /**
   * Takes part `number` of `size` bytes. What the store has of it from a try that was cut short is not given to it again.
   * Throws Refused, what `body` or the store threw, or the reason of `signal`.
   */
  part(number: number, size: number, body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      const again = number === this.#parts && size === this.#last.bytes;
      if (!again && (number !== this.#parts + 1 || this.#completing))
        throw new Refused(409, "invalid-request", `part ${number} does not follow part ${this.#parts}`);
      if (!again && this.#bytes + size > this.#maxBytes)
        throw new Refused(413, "invalid-request", `objects may have ${this.#maxBytes} bytes here`);
      const before = again ? this.#last : this.#taken;
      if (size < before.bytes) throw differs(number);
      const either = AbortSignal.any([signal, this.#ended.signal]);
      for await (const fresh of before.rest(body, () => differs(number))) {
        await this.#pipe.offer(fresh, either);
        before.add(fresh);
      }
      if (again) return;
      this.#parts = number;
      this.#bytes += size;
      this.#last = this.#taken;
      this.#taken = new Taken();
    });
  }

  /** Resolves when the object is stored. Throws Refused, or what the store threw. */
  complete(parts: number): Promise<void> {
    return this.#inTurn(async () => {
      if (parts !== this.#parts)
        throw new Refused(409, "invalid-request", `there are ${this.#parts} parts, not ${parts}`);
      this.#completing = true;
      this.#pipe.end();
      const { error } = await this.#outcome;
      if (error !== undefined) throw error;
    });
  }

  /** Resolves when the store has thrown away what it had, or had stored all of it before. */
  async abort(why: string): Promise<void> {
    this.#stop.abort(new StoreError("unavailable", why));
    await this.#outcome;
  }

  /** One after the other, so that what is checked still holds when it is acted upon. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(act);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

function differs(number: number): Refused {
  return new Refused(409, "invalid-request", `part ${number} differs from what came of it before`);
}

/** The beginning of a part, by length and hash. */
class Taken {
  bytes = 0;
  readonly #hash = sha256.create();

  add(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.bytes += chunk.length;
  }

  /** What follows in `body` after the same beginning. Throws what `differs` makes where the beginning is another. */
  async *rest(
    body: AsyncIterable<Uint8Array>,
    differs: () => Refused,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const known = this.bytes;
    const expected = String(this.#hash.clone().digest());
    const seen = sha256.create();
    let at = 0;
    for await (const chunk of body) {
      const old = chunk.subarray(0, Math.max(0, known - at));
      at += chunk.length;
      if (old.length > 0) {
        seen.update(old);
        if (at >= known && String(seen.clone().digest()) !== expected) throw differs();
      }
      if (old.length < chunk.length) yield chunk.subarray(old.length);
    }
  }
}
