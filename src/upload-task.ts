import { DamagedEntryError } from "./cache/damaged-entry.ts";
import type { CacheEntry } from "./cache/write-cache.ts";
import type { ReplicaFencedError } from "./errors.ts";
import type { Position } from "./format/position.ts";
import { ArrivedError } from "./given-up.ts";
import type { Task } from "./loop.ts";
import type { StoredInfo } from "./replica.ts";
import type { StoreCapabilities } from "./store/object-store.ts";
import { ensureClaim, type UploadContext, uploadHead } from "./upload.ts";
import { Waiters } from "./waiters.ts";

/** Entries from which on a merge saves requests: the head is sent as it is, and the merged one. */
const MERGE_FROM = 2;

export interface UploadTaskOptions {
  readonly context: UploadContext;
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  /** Several entries wait, and nobody for them: makes fewer of them. */
  readonly merge: () => Promise<void>;
  /** The last position that is known to be in the store. */
  readonly uploaded: () => Position;
  /** `object`: what the store has of it. */
  readonly onUploaded: (entry: CacheEntry, object: StoredInfo) => void;
  /**
   * What waits cannot go up: none of it is in the cache any more when this resolves, and a resync makes up for it. Throws the
   * error where none does.
   */
  readonly giveUp: (head: CacheEntry | undefined, error: unknown) => Promise<void>;
  readonly onFailed: (error: unknown) => void;
}

/** Ships the cache's entries in order, at its interval or at once when somebody waits; for good over once fenced. */
export class UploadTask implements Task {
  readonly #o: UploadTaskOptions;
  readonly #waiters = new Waiters();
  readonly #impatient = new Waiters();
  #notBefore = 0;
  lastUploadTime: number | null = null;
  failures = 0;
  capabilities: StoreCapabilities | null = null;
  /** Nothing was uploaded since something was given up. */
  #gaveUp = false;
  /** The end of the chain is to be looked at, whether or not anything waits. */
  #look = true;
  /** So is whether another went on before it. */
  #lookForOther = false;
  fenced: ReplicaFencedError | null = null;

  constructor(options: UploadTaskOptions) {
    this.#o = options;
  }

  /** A look at the end of the chain is not worth staying alive for. */
  get holding(): boolean {
    return this.awaited || this.#o.context.cache.entries().length > 0;
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

  /** Sees to it that the prefix is ours. A snapshot of a database without commits has no segment that would. */
  async claim(): Promise<void> {
    await ensureClaim(this.#o.context, this.#o.signal);
  }

  /** The claim may be gone: it is made again before anything goes up. */
  forgetClaim(): void {
    this.#o.context.claimed = false;
  }

  /** The next run looks whether another went on before what the store lost: nothing of our own goes up meanwhile. */
  lookForOther(): void {
    this.#lookForOther = true;
  }

  /** The end of the chain is looked at before anything else. */
  forgetTail(): void {
    this.#o.context.tail.forget();
    this.#look = true;
  }

  /** Nothing will be uploaded any more. */
  end(reason: unknown): void {
    this.#waiters.fail(reason);
    this.#impatient.fail(reason);
  }

  due(): number | null {
    if (this.fenced !== null) return null;
    const now = this.#o.context.clock.now();
    if (this.#look) return now;
    if (this.#o.context.cache.entries().length === 0) return null;
    return this.awaited ? now : this.#notBefore;
  }

  async run(): Promise<void> {
    const { context, signal, intervalMs, merge, uploaded, onUploaded } = this.#o;
    const { clock, tail } = context;
    const began = clock.now();
    if (this.fenced !== null) throw this.fenced;
    if (this.#lookForOther) {
      const head = context.cache.entries()[0];
      await tail
        .requireNoOther(uploaded(), head?.to ?? null, signal)
        .catch((error: unknown) => this.#giveUp(head, error));
      this.#lookForOther = false;
    }
    if (this.#look) {
      const head = context.cache.entries()[0];
      await tail
        .require(uploaded(), head?.to ?? null, signal)
        .catch((error: unknown) => this.#giveUp(head, error));
    }
    this.#look = false;
    if (context.cache.entries().length === 0) return;
    if (!this.awaited && context.cache.entries().length > MERGE_FROM) await merge();
    this.capabilities ??= await context.store.capabilities({ signal });
    for (let head = context.cache.entries()[0]; head !== undefined; head = context.cache.entries()[0]) {
      const object = await uploadHead(context, head, signal).catch((error: unknown) =>
        this.#giveUp(head, error),
      );
      if (!object) continue;
      this.#gaveUp = false;
      this.lastUploadTime = clock.now();
      this.failures = 0;
      onUploaded(head, object);
      this.#waiters.settle(head.to.txid);
      this.#impatient.settle(head.to.txid);
    }
    this.#notBefore = began + intervalMs;
  }

  /**
   * Throws also where what makes up for what was given up before is damaged or lost, too: a cache or a store that keeps nothing
   * as it is written is to be tried as seldom as anything that fails, since each time the database and the replica are read.
   */
  async #giveUp(head: CacheEntry | undefined, error: unknown): Promise<void> {
    await this.#o.giveUp(head, error);
    if (head === undefined || error instanceof ArrivedError) return;
    if (this.#gaveUp) throw error;
    this.#gaveUp = true;
    // Of the replica the resync says what it finds.
    if (error instanceof DamagedEntryError) this.#o.onFailed(error);
  }

  failed(error: unknown): boolean {
    this.failures += 1;
    // A store that was down may come back without what it had said that it has.
    this.#o.context.tail.forget();
    this.#impatient.fail(error);
    this.#o.onFailed(error);
    return this.fenced === null;
  }

  /** Another writer has extended the replica: nothing is uploaded any more. */
  fence(error: ReplicaFencedError): void {
    this.fenced = error;
    this.#waiters.fail(error);
    this.#impatient.fail(error);
  }
}
