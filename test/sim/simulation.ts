import { armFaults } from "../../src/faults.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import { Random } from "../replicator/random.ts";
import { Chain } from "./chain.ts";
import { FollowerMachine } from "./follower.ts";
import type { Instance } from "./instance.ts";
import { Keeper } from "./keeper.ts";
import { Machine } from "./machine.ts";
import { Reader } from "./reader.ts";
import { DAY, HOUR, MINUTE, MOST_MACHINES, type Scenario, scenarioOf } from "./scenario.ts";
import { Backend } from "./store.ts";
import { watchCapture } from "./watch.ts";
import { type Life, World } from "./world.ts";

/** Then all is well, whatever the applications have not done yet. */
const MOST_HAPPENINGS = 200;
/** States of the past that are restored at the end. */
const PAST_RESTORES = 2;

export interface Outcome {
  readonly seed: number;
  /** Null where all invariants held. */
  readonly failure: unknown;
  /** Of everything that happened, for a replay to compare. */
  readonly hash: string;
  readonly operations: number;
  readonly lines: readonly string[];
}

/** What all simulations of this process share: nothing of it keeps a state from one to the next. */
export interface Equipment {
  readonly instances: readonly Instance[];
  readonly codecs: Codecs;
}

/** The world whose turn it is, for hooks that are set once. */
let world: World | null = null;
let machines: readonly Machine[] = [];

export function prepareHooks(): void {
  watchCapture(() => machines.find(({ life }) => life === world?.current)?.watch ?? null);
  armFaults((point) => world?.current?.operation(point));
  process.on("unhandledRejection", (error) => {
    if (world?.current?.dead !== true) world?.fail(error);
  });
  // What is random in the core is random from the seed, and real time does not pass.
  Math.random = () => (world?.random.word() ?? 0) / 2 ** 32;
  Date.now = () => world?.time ?? 0;
  crypto.getRandomValues = (array) => {
    const bytes = new Uint8Array(array!.buffer, array!.byteOffset, array!.byteLength);
    bytes.set(world?.random.bytes(bytes.length) ?? []);
    return array;
  };
}

export async function simulate(seed: number, equipment: Equipment, verbose = false): Promise<Outcome> {
  const simulation = new Simulation(new World(seed, verbose), equipment);
  await simulation.run();
  const { trace, failure } = simulation.world;
  return { seed, failure, hash: trace.hash, operations: trace.count, lines: trace.lines };
}

class Simulation {
  readonly world: World;
  readonly #scenario: Scenario;
  readonly #chain: Chain;
  readonly #backend: Backend;
  readonly #machines: Machine[];
  readonly #keepers: Keeper[];
  readonly #followers: FollowerMachine[];
  readonly #reader: Reader;
  readonly #dice: Random;
  #healing = false;
  #happened = 0;

  constructor(its: World, { codecs, instances }: Equipment) {
    this.world = its;
    world = its;
    const scenario = scenarioOf(its.random);
    this.#dice = new Random(~its.seed);
    this.#scenario = scenario;
    this.#chain = new Chain(its, codecs, scenario.retention);
    const chain = this.#chain;
    const backend = new Backend(its, chain, scenario.atomic);
    this.#backend = backend;
    this.#machines = Array.from({ length: scenario.machines }, (_, i) => {
      const machine = new Machine("abc"[i]!, its, backend, chain, scenario, instances[i]!, codecs);
      machine.excused = scenario.machines > 1;
      return machine;
    });
    machines = this.#machines;
    this.#keepers = scenario.keepers.map(
      (rules, i) => new Keeper(`k${i}.`, its, backend, codecs, rules, scenario.keepMs),
    );
    this.#followers = Array.from(
      { length: scenario.followers },
      (_, i) => new FollowerMachine(`f${i}.`, its, backend, chain, codecs, scenario.pollIntervalMs),
    );
    this.#reader = new Reader(its, backend, chain, scenario, instances[MOST_MACHINES]!, codecs);
  }

  async run(): Promise<void> {
    try {
      for (const phase of [this.#live, this.#heal, this.#idle, this.#restore]) {
        await phase.call(this);
        if (this.world.failure !== null) break;
      }
    } catch (error) {
      this.world.fail(error);
    }
    for (const { life } of this.#beings) life.dead = true;
  }

  get #beings(): readonly { readonly life: Life }[] {
    return [...this.#machines, ...this.#keepers, ...this.#followers, this.#reader];
  }

  async #live(): Promise<void> {
    const { random } = this.world;
    this.#machines.forEach((machine, i) => {
      if (i === 0 && random.chance(0.8)) machine.prepare();
      machine.boot(i === 0 ? 0 : random.below(20_000));
    });
    for (const being of [...this.#keepers, ...this.#followers]) being.begin();
    if (this.#scenario.readers) this.#reader.begin();
    this.#chaos();
    await this.world.run(
      () => this.#awakeAt === Number.POSITIVE_INFINITY || this.#happened === MOST_HAPPENINGS,
    );
  }

  /** When the next application goes on. */
  get #awakeAt(): number {
    return Math.min(...this.#machines.map(({ awakeAt }) => awakeAt));
  }

  /** Something happens to the world, again and again. */
  #chaos(): void {
    const { random, time } = this.world;
    const sleep = Math.max(0, this.#awakeAt - time);
    if (sleep === Number.POSITIVE_INFINITY) return;
    this.world.schedule(sleep + random.below(this.#scenario.chaosMs), null, "chaos", () => {
      if (this.#healing) return;
      this.#happened += 1;
      this.#happen();
      this.#chaos();
    });
  }

  #happen(): void {
    const { random } = this.world;
    const scenario = this.#scenario;
    const machine = random.pick(this.#machines);
    const what = random.pick(["store", "store", "queue", "disk", "clock", "sleep", "crash", "loss"] as const);
    this.world.note(`${what} of ${machine.name}`);
    switch (what) {
      case "store":
        this.#backend.trouble = random.chance(0.5) ? scenario.storeTrouble : 0;
        this.#backend.outage = scenario.storeTrouble > 0 && random.chance(0.2);
        this.#pass(HOUR, () => this.#backend.clear());
        return;
      case "queue":
        machine.queue.trouble = random.chance(0.5) ? scenario.queueTrouble : 0;
        machine.queue.full = scenario.queueTrouble > 0 && random.chance(0.2);
        this.#damage(machine);
        this.#pass(MINUTE, () => machine.clearQueue());
        return;
      case "disk":
        machine.setFull(scenario.fullDisks && random.chance(0.5));
        this.#pass(MINUTE, () => machine.setFull(false));
        return;
      case "clock":
        machine.clockAhead += random.pick([-DAY, -HOUR, -1000, 1000, HOUR, DAY]);
        return;
      case "sleep":
        if (random.chance(0.3)) this.#sleep();
        return;
      case "crash":
        if (machine.running && random.chance(0.3)) machine.end();
        return;
      case "loss":
        if (scenario.losses && random.chance(0.1)) machine.lose();
        this.#loseEnd();
    }
  }

  /** Dice of their own, so that seeds without damage stay what they are. */
  #damage({ name, queue }: Machine): void {
    const entries = queue.stored.entries.map(({ entry }) => entry);
    if (!this.#scenario.losses || entries.length === 0 || !this.#dice.chance(0.5)) return;
    const entry = this.#dice.pick(entries);
    this.world.note(`${name} has transaction ${entry.to.txid} damaged in its queue`);
    queue.damage(entry);
  }

  /**
   * Of the store, while no process runs: one that knows where the chain ends, as of not long ago, does not look again. Nobody
   * reads either, since what they have seen would be gone.
   */
  #loseEnd(): void {
    const { losses, keepers, followers, readers } = this.#scenario;
    if (!losses || keepers.length > 0 || followers > 0 || readers || !this.#chain.restorable) return;
    if (!this.#dice.chance(0.5)) return;
    for (const machine of this.#machines) machine.loseEnd();
    this.world.schedule(0, null, "the store loses", () => this.#backend.loseEnd(this.#dice));
  }

  /** What fails is tried again every second, which for hours would be all that is simulated. */
  #pass(most: number, over: () => void): void {
    this.world.schedule(this.world.random.below(most), null, "passes", over);
  }

  /** Of one machine or another, or of all: what is on its way to the store gets there meanwhile. */
  #sleep(): void {
    const { random, time } = this.world;
    const all = random.chance(0.3);
    const until = time + random.pick(all ? [HOUR, 7 * HOUR, 3 * DAY] : this.#scenario.naps);
    for (const { life } of all ? this.#beings : [random.pick(this.#beings)]) life.sleep(until);
  }

  /** From here on everything works: then everything committed gets into the store, and stays what it is. */
  async #heal(): Promise<void> {
    this.world.note("heals");
    this.#healing = true;
    this.#backend.clear();
    for (const being of [...this.#keepers, this.#reader]) being.end();
    for (const being of [...this.#machines, ...this.#followers]) being.heal();
    await this.#runUntil(() => this.#machines.every((machine) => machine.settled));
    for (const machine of this.#machines)
      this.world.require(
        machine.settled || this.world.failure !== null,
        () => `${machine.name} does not settle: ${machine.describe()}`,
      );
    for (const machine of this.#machines) machine.compare();
    await this.#runUntil(() => this.#followers.every(({ caughtUp }) => caughtUp));
    for (const follower of this.#followers) {
      this.world.require(follower.caughtUp, `${follower.name} does not catch up`);
      follower.end();
    }
  }

  async #runUntil(done: () => boolean): Promise<void> {
    const until = this.world.time + DAY;
    await this.world.run(() => done() || this.world.time > until);
  }

  /** Nothing is written, so nothing is asked of the store, once the last snapshot is taken. */
  async #idle(): Promise<void> {
    const quiet = this.world.time + 3 * HOUR;
    await this.world.run(() => this.world.time > quiet);
    const { requests } = this.#backend;
    const end = this.world.time + DAY;
    await this.world.run(() => this.world.time > end);
    this.world.require(this.#backend.requests === requests, "requests are made while nothing is written");
  }

  /** The newest state, and some of those that retention has left. */
  async #restore(): Promise<void> {
    const { random } = this.world;
    for (const { life } of this.#beings) life.dead = true;
    machines = [];
    const restorable = [...this.#chain.holdings.restorable()];
    this.world.require(
      !this.#chain.restorable || restorable.includes(this.#chain.tail?.txid ?? 0),
      "the newest state cannot be restored",
    );
    if (restorable.length === 0) return;
    await this.#reader.restoreAlone();
    for (let i = 0; i < PAST_RESTORES && this.world.failure === null; i++)
      await this.#reader.restoreAlone(random.pick(restorable));
  }
}
