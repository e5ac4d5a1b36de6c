import { BrokenReplicaError, FollowError } from "../../src/errors.ts";
import { Follower } from "../../src/follow.ts";
import type { CopyState, FollowedCopy, PageStage } from "../../src/follow-copy.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import type { DatabaseTarget } from "../../src/platform.ts";
import type { Chain } from "./chain.ts";
import { Outsider } from "./outsider.ts";
import { simClock } from "./platform.ts";
import { describeDifference, isDatabaseOf, stateOfBytes } from "./state.ts";
import { type Backend, SimStore } from "./store.ts";
import { Crash, type Life, type World } from "./world.ts";

/** A copy that follows the replica. What readers of it see is compared at each change. */
export class FollowerMachine extends Outsider {
  /** As the copy's medium has it. */
  bytes: Uint8Array = new Uint8Array(0);
  state: CopyState | null = null;
  #healed = false;

  constructor(
    name: string,
    world: World,
    readonly backend: Backend,
    readonly chain: Chain,
    readonly codecs: Codecs,
    pollIntervalMs: number,
  ) {
    super(name, world, pollIntervalMs);
  }

  /** Nothing goes wrong any more. */
  heal(): void {
    this.#healed = true;
    this.life.remaining = Number.POSITIVE_INFINITY;
    this.life.wake();
  }

  get caughtUp(): boolean {
    return !this.chain.restorable || this.state?.position.txid === this.chain.tail?.txid;
  }

  /** The copy is another from now on: the replica's state at that position, later than before. */
  become(bytes: Uint8Array, state: CopyState): void {
    const { world, chain, codecs } = this;
    const { txid } = state.position;
    const before = this.state?.position.txid ?? -1;
    world.note(`${this.life.name} follows to ${txid}`);
    world.require(txid > before, () => `${this.name} goes from transaction ${before} to ${txid}`);
    const found = stateOfBytes(bytes, (page) => codecs.hash64(page));
    const wanted = chain.stateOf(state.position);
    world.require(
      isDatabaseOf(found, wanted),
      () => `${this.name} is not the state at ${txid}: ${describeDifference(found, wanted)}`,
    );
    this.bytes = bytes;
    this.state = state;
  }

  protected crashAfter(): number {
    const { random } = this.world;
    return !this.#healed && random.chance(0.5) ? 1 + random.below(200) : Number.POSITIVE_INFINITY;
  }

  protected async run(life: Life): Promise<void> {
    const { backend, codecs, pauseMs } = this;
    const settings = { pollIntervalMs: pauseMs, logger: {} };
    const store = new SimStore(backend, life);
    const follower = new Follower(new SimCopy(this, life), store, codecs, simClock(this, life), settings);
    follower.addEventListener("error", ({ detail }) => {
      this.#judge(life, detail);
      if (follower.status().state === "failed") life.end();
    });
    try {
      await follower.start();
    } catch (error) {
      this.#judge(life, error);
      life.end();
    }
  }

  #judge(life: Life, error: unknown): void {
    if (life.dead || error instanceof Crash || this.backend.caused(error)) return;
    const nothingYet =
      error instanceof BrokenReplicaError || (error instanceof FollowError && error.problem === "no-replica");
    if (!nothingYet || this.chain.restorableSince < life.begun) this.world.fail(error);
  }
}

/** Goes from one state to the next in one step, as SQLite's transactions have it: a crash is before or behind. */
class SimCopy implements FollowedCopy {
  readonly path = "/copy.db";
  readonly #machine: FollowerMachine;
  readonly #life: Life;

  constructor(machine: FollowerMachine, life: Life) {
    this.#machine = machine;
    this.#life = life;
  }

  open(): CopyState | null {
    this.#life.operation("opens its copy");
    return this.#machine.state;
  }

  restoreTarget(): CopyTarget {
    return new CopyTarget(this.path);
  }

  async make(target: CopyTarget, state: CopyState): Promise<void> {
    await this.#become(target.bytes, state);
  }

  page(pgno: number): Uint8Array | null {
    const { bytes, state } = this.#machine;
    const { pageSize } = state!;
    return pgno * pageSize > bytes.length ? null : bytes.slice((pgno - 1) * pageSize, pgno * pageSize);
  }

  stage(): Pages {
    return new Pages();
  }

  async apply({ pages }: Pages, next: CopyState): Promise<void> {
    const bytes = new Uint8Array(next.pageCount * next.pageSize);
    bytes.set(this.#machine.bytes.subarray(0, bytes.length));
    for (const [pgno, page] of pages) bytes.set(page, (pgno - 1) * next.pageSize);
    await this.#become(bytes, next);
  }

  async #become(bytes: Uint8Array, state: CopyState): Promise<void> {
    await this.#life.wait(1, "waits for readers");
    this.#life.operation("changes its copy");
    this.#machine.become(bytes, state);
    this.#life.operation("changed its copy");
  }

  release(): void {}
}

class Pages implements PageStage {
  readonly pages = new Map<number, Uint8Array>();

  put(pgno: number, page: Uint8Array): void {
    this.pages.set(pgno, page.slice());
  }

  close(): void {}
}

class CopyTarget implements DatabaseTarget {
  readonly old = null;
  bytes: Uint8Array = new Uint8Array(0);

  constructor(readonly path: string) {}

  write(bytes: Uint8Array, offset: number): undefined {
    const end = offset + bytes.length;
    if (end > this.bytes.length) {
      const longer = new Uint8Array(end);
      longer.set(this.bytes);
      this.bytes = longer;
    }
    this.bytes.set(bytes, offset);
  }

  async finish(): Promise<void> {}

  async abort(): Promise<void> {}
}
