import { BrokenReplicaError } from "../../src/errors.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import type { Chain } from "./chain.ts";
import type { Instance } from "./instance.ts";
import { Machine } from "./machine.ts";
import { Outsider } from "./outsider.ts";
import type { Scenario } from "./scenario.ts";
import { describeDifference, isDatabaseOf, stateOfBytes } from "./state.ts";
import type { Backend } from "./store.ts";
import type { Life, World } from "./world.ts";

/** Somebody who restores what the store holds to an empty disk, while others write, merge and delete, or at the end. */
export class Reader extends Outsider {
  constructor(
    world: World,
    readonly backend: Backend,
    readonly chain: Chain,
    readonly scenario: Scenario,
    readonly instance: Instance,
    readonly codecs: Codecs,
  ) {
    super("r", world, scenario.keepMs);
  }

  protected crashAfter(): number {
    return Number.POSITIVE_INFINITY;
  }

  protected async run(life: Life): Promise<void> {
    try {
      await this.#restore(life);
    } catch (error) {
      // Once the first snapshot has landed there is always something to restore.
      const tooEarly = error instanceof BrokenReplicaError && this.chain.restorableSince > life.begun;
      if (!this.backend.caused(error) && !tooEarly) throw error;
    }
    life.end();
  }

  /** The newest state, or the one at `txid`, which the store has; with nobody else there. */
  async restoreAlone(txid?: number): Promise<void> {
    const { world } = this;
    let ended = false;
    const done = this.#restore(this.live(Number.POSITIVE_INFINITY), txid).then(
      () => {
        ended = true;
      },
      (error: unknown) => world.fail(error),
    );
    void done;
    await world.run(() => ended);
    world.require(ended || world.failure !== null, "the restore does not end");
  }

  async #restore(life: Life, txid?: number): Promise<void> {
    const { world, backend, chain, scenario, instance, codecs } = this;
    const machine = new Machine("r", world, backend, chain, scenario, instance, codecs);
    machine.life = life;
    const least = chain.restorable ? (chain.tail?.txid ?? 0) : null;
    const outcome = await machine.restoreOnly(txid);
    if (life.dead) return;
    world.require(outcome.restored || least === null, "nothing was restored");
    if (!outcome.restored) return;
    const found = outcome.position.txid;
    const right =
      txid === undefined
        ? found >= (least ?? 0)
        : found === txid || (found < txid && !chain.holdings.isKept(txid));
    world.require(right, `transaction ${txid ?? `${least} or later`} was to be restored, not ${found}`);
    const restored = stateOfBytes(machine.disk.find(machine.dbPath)!.content(), machine.hash64);
    const wanted = chain.stateAt(found);
    world.require(isDatabaseOf(restored, wanted), () => `restored: ${describeDifference(restored, wanted)}`);
    machine.checkRestored();
  }
}
