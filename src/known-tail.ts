import type { Position } from "./format/position.ts";
import { mayArrive } from "./given-up.ts";
import { LEVEL0_STAYS_MS } from "./level0-stays.ts";
import { loadUpkeep } from "./load.ts";
import type { Clock } from "./platform.ts";
import type { Stopwatch } from "./stopwatch.ts";
import type { TailContext } from "./tail.ts";

/**
 * Milliseconds for which the end of the chain counts as known. A key that retention deleted is free again, so a create that
 * succeeds proves nothing by itself; but no key becomes free sooner than twice this after it was taken.
 */
const KNOWN_MS = LEVEL0_STAYS_MS / 2;

/** How long ago the end of the chain in the store was seen to be ours. */
export class KnownTail {
  readonly #context: TailContext & { readonly clock: Clock };
  #since: Stopwatch | null = null;

  constructor(context: TailContext & { readonly clock: Clock }) {
    this.#context = context;
  }

  mayArrive(from: Position): readonly Position[] {
    return mayArrive(this.#context.givenUp(), from);
  }

  get known(): boolean {
    return this.#since !== null && this.#since() < KNOWN_MS;
  }

  /** It was ours when that was started. */
  confirm(since: Stopwatch): void {
    if (this.#since === null || since() < this.#since()) this.#since = since;
  }

  forget(): void {
    this.#since = null;
  }

  /** Looks, unless it is known. Parameters and errors are those of `requireTail`. */
  async require(uploaded: Position, pending: Position | null, signal?: AbortSignal): Promise<void> {
    if (this.known) return;
    const since = this.#context.clock.stopwatch();
    const { requireTail } = await loadUpkeep();
    await requireTail(this.#context, uploaded, pending, signal);
    this.confirm(since);
  }

  /** Looks, also where it is known, but accepts that our end is lost. */
  async requireNoOther(uploaded: Position, pending: Position | null, signal?: AbortSignal): Promise<void> {
    const { requireNoOther } = await loadUpkeep();
    await requireNoOther(this.#context, uploaded, pending, signal);
  }
}
