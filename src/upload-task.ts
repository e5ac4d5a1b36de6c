import type { CacheEntry } from "./cache/write-cache.ts";
import { ReplicaFencedError } from "./errors.ts";
import type { Task } from "./loop.ts";
import type { Clock } from "./platform.ts";
import type { StoreCapabilities } from "./store/object-store.ts";
import { type UploadContext, uploadHead } from "./upload.ts";
import { Waiters } from "./waiters.ts";

export interface UploadTaskOptions {
  readonly context: UploadContext;
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  readonly onUploaded: (entry: CacheEntry, key: string) => void;
  readonly onFailed: (error: unknown) => void;
}

/** Ships the cache's entries in order, at its interval or at once when somebody waits; for good over once fenced. */
export class UploadTask implements Task {
  readonly holding = true;
  readonly #o: UploadTaskOptions;
  readonly #waiters = new Waiters();
  readonly #impatient = new Waiters();
  #notBefore = 0;
  lastUploadTime: number | null = null;
  failures = 0;
  capabilities: StoreCapabilities | null = null;
  fenced: ReplicaFencedError | null = null;

  constructor(options: UploadTaskOptions) {
    this.#o = options;
  }

  get awaited(): boolean {
    return this.#waiters.any || this.#impatient.any;
  }

  /** Resolves when the segment that ends at `txid` or later is acknowledged. */
  async wait(txid: number, signal?: AbortSignal): Promise<void> {
    if (this.fenced !== null) throw this.fenced;
    await this.#waiters.wait(txid, signal);
  }

  /** The same, for those who do not wait through failures. */
  async waitWithoutRetry(txid: number, signal: AbortSignal): Promise<void> {
    if (this.fenced !== null) throw this.fenced;
    await this.#impatient.wait(txid, signal);
  }

  /** Nothing will be uploaded any more. */
  end(reason: unknown): void {
    this.#waiters.fail(reason);
    this.#impatient.fail(reason);
  }

  due(): number | null {
    if (this.fenced !== null || this.#o.context.cache.entries().length === 0) return null;
    return this.awaited ? this.#o.clock.now() : this.#notBefore;
  }

  async run(): Promise<void> {
    const { context, clock, signal, intervalMs, onUploaded } = this.#o;
    if (this.fenced !== null) throw this.fenced;
    this.capabilities ??= await context.store.capabilities({ signal });
    for (let head = context.cache.entries()[0]; head !== undefined; head = context.cache.entries()[0]) {
      const key = await uploadHead(context, head, signal);
      this.lastUploadTime = clock.now();
      this.failures = 0;
      onUploaded(head, key);
      this.#waiters.settle(head.to.txid);
      this.#impatient.settle(head.to.txid);
    }
    this.#notBefore = clock.now() + intervalMs;
  }

  failed(error: unknown): boolean {
    this.failures += 1;
    this.#impatient.fail(error);
    if (error instanceof ReplicaFencedError) {
      this.fenced = error;
      this.#waiters.fail(error);
    }
    this.#o.onFailed(error);
    return this.fenced === null;
  }
}
