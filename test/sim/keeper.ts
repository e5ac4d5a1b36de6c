import type { Retention } from "../../src/config.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import { compact, pruneReplica } from "../../src/housekeeping.ts";
import { PatientStore } from "../../src/store/patient-store.ts";
import { Outsider } from "./outsider.ts";
import { simClock } from "./platform.ts";
import { type Backend, SimStore } from "./store.ts";
import type { Life, World } from "./world.ts";

/** A process beside the writers that merges or deletes, again and again, by rules of its own. */
export class Keeper extends Outsider {
  constructor(
    name: string,
    world: World,
    readonly backend: Backend,
    readonly codecs: Codecs,
    readonly retention: Retention,
    pauseMs: number,
  ) {
    super(name, world, pauseMs);
  }

  protected crashAfter(): number {
    const { random } = this.world;
    return random.chance(0.2) ? 1 + random.below(60) : Number.POSITIVE_INFINITY;
  }

  protected async run(life: Life): Promise<void> {
    try {
      await this.#keep(life);
    } catch (error) {
      if (!this.backend.caused(error)) throw error;
    }
    life.end();
  }

  async #keep(life: Life): Promise<void> {
    const { world, codecs, backend } = this;
    const clock = simClock(this, life);
    const store = new PatientStore(new SimStore(backend, life), clock);
    const what = world.random.pick(["compact", "prune"] as const);
    world.note(`${life.name} ${what}`);
    const { retentionMs, fineRetentionMs } = this.retention;
    const options = { retentionSecs: retentionMs / 1000, fineRetentionSecs: fineRetentionMs / 1000 };
    const report = await (what === "compact"
      ? compact(store, codecs, clock, {})
      : pruneReplica(store, codecs, clock, options));
    // A replica that only writers of ours made has nothing that cannot be merged.
    const problem = report?.problems[0];
    if (problem !== undefined) throw problem;
  }
}
