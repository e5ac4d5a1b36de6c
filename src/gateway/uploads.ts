import { GONE } from "../store/gateway-protocol.ts";
import type { Timer } from "./body.ts";
import { Refused } from "./refused.ts";
import type { Scope } from "./scope.ts";
import type { Upload } from "./upload.ts";

/** Outcomes that are remembered for each prefix, for clients that did not hear the answer. */
const REMEMBERED = 16;
/** Milliseconds after which a client that has too many uploads open may come again. */
const RETRY_AFTER_MS = 10_000;

interface Entry {
  readonly upload: Upload;
  timeout: { cancel(): void };
}

/**
 * The uploads of all callers. Each is known by its prefix, its key and its id together, so that an id is of no use to
 * anybody else. One whose client sends nothing for `idleMs` is ended; so long its outcome is kept too.
 */
export class Uploads {
  readonly #ofPrefix = new Map<string, Map<string, Entry>>();
  readonly #max: number;
  readonly #idleMs: number;
  readonly #timer: Timer;

  constructor(max: number, idleMs: number, timer: Timer) {
    this.#max = max;
    this.#idleMs = idleMs;
    this.#timer = timer;
  }

  /** Returns the new upload's id. `make` is called if there may be another. Throws Refused. */
  begin({ prefix }: Scope, make: () => Upload): string {
    const entries = this.#ofPrefix.get(prefix) ?? new Map<string, Entry>();
    const settled = [...entries].filter(([, { upload }]) => upload.settled);
    if (entries.size - settled.length >= this.#max)
      throw new Refused(503, "throttled", "too many uploads at a time", { retryAfterMs: RETRY_AFTER_MS });
    for (const [id] of settled.slice(0, Math.max(0, settled.length - REMEMBERED))) this.#forget(prefix, id);
    const id = randomId();
    this.#ofPrefix.set(prefix, entries);
    entries.set(id, { upload: make(), timeout: this.#expiry(prefix, id) });
    return id;
  }

  /** An upload that its client has not forgotten. Throws Refused. */
  find({ prefix }: Scope, key: string, id: string): Upload {
    const entry = this.#ofPrefix.get(prefix)?.get(id);
    if (entry === undefined || entry.upload.key !== key)
      throw new Refused(GONE, "unavailable", "the gateway does not have this upload; it begins anew");
    entry.timeout.cancel();
    entry.timeout = this.#expiry(prefix, id);
    return entry.upload;
  }

  /** Ends those that are under way. */
  async abortAll(): Promise<void> {
    const all = [...this.#ofPrefix].flatMap(([prefix, entries]) => [...entries].map(([id]) => [prefix, id]));
    await Promise.all(all.map(([prefix, id]) => this.#end(prefix!, id!)));
  }

  #expiry(prefix: string, id: string): { cancel(): void } {
    const progress = this.#ofPrefix.get(prefix)?.get(id)?.upload.progress ?? 0;
    return this.#timer.after(this.#idleMs, false, () => {
      const entry = this.#ofPrefix.get(prefix)?.get(id);
      if (entry === undefined) return;
      // One part may take long on a slow line; and in the end the store is at work, and has patience of its own.
      const alive = entry.upload.progress > progress || entry.upload.completing;
      if (alive) entry.timeout = this.#expiry(prefix, id);
      else void this.#end(prefix, id);
    });
  }

  async #end(prefix: string, id: string): Promise<void> {
    const upload = this.#forget(prefix, id);
    await upload?.abort("the upload was left");
  }

  #forget(prefix: string, id: string): Upload | undefined {
    const entries = this.#ofPrefix.get(prefix);
    const entry = entries?.get(id);
    entry?.timeout.cancel();
    entries?.delete(id);
    if (entries?.size === 0) this.#ofPrefix.delete(prefix);
    return entry?.upload;
  }
}

function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
