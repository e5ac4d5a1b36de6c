import type { Position } from "./format/position.ts";
import { LEVEL0_STAYS_MS } from "./level0-stays.ts";
import { loadUpkeep } from "./load.ts";
import type { Clock } from "./platform.ts";
import type { TailContext } from "./tail.ts";

/**
 * Milliseconds for which the end of the chain counts as known. A key that retention deleted is free again, so a create that
 * succeeds proves nothing by itself; but no key becomes free sooner than twice this after it was taken.
 */
const KNOWN_MS = LEVEL0_STAYS_MS / 2;

/** How long ago the end of the chain in the store was seen to be ours. */
export class KnownTail {
  readonly #context: TailContext & { readonly clock: Clock };
  #knownAt = Number.NEGATIVE_INFINITY;

  constructor(context: TailContext & { readonly clock: Clock }) {
    this.#context = context;
  }

  get known(): boolean {
    return this.#context.clock.now() - this.#knownAt < KNOWN_MS;
  }

  /** It was ours at that time. */
  confirm(at: number): void {
    this.#knownAt = Math.max(this.#knownAt, at);
  }

  forget(): void {
    this.#knownAt = Number.NEGATIVE_INFINITY;
  }

  /** Looks, unless it is known. Parameters and errors are those of `checkTail`. */
  async require(uploaded: Position, pending: Position | null, signal?: AbortSignal): Promise<void> {
    if (this.known) return;
    const at = this.#context.clock.now();
    const { checkTail } = await loadUpkeep();
    await checkTail(this.#context, uploaded, pending, signal);
    this.confirm(at);
  }
}
