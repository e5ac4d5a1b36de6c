import { armFaults } from "../../src/faults.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import { Chain } from "./chain.ts";
import type { Instance } from "./instance.ts";
import { Machine } from "./machine.ts";
import { type Scenario, scenarioOf } from "./scenario.ts";
import { describeDifference, sameState, stateOfBytes } from "./state.ts";
import { Backend } from "./store.ts";
import { watchCapture } from "./watch.ts";
import { Life, World } from "./world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

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
  readonly #equipment: Equipment;

  constructor(its: World, equipment: Equipment) {
    this.world = its;
    world = its;
    this.#equipment = equipment;
    this.#scenario = scenarioOf(its.random);
    this.#chain = new Chain(its, equipment.codecs);
    this.#backend = new Backend(its, this.#chain, this.#scenario.atomic);
    this.#machines = Array.from({ length: this.#scenario.machines }, (_, i) =>
      this.#machine("abc"[i]!, this.#scenario, equipment.instances[i]!),
    );
    machines = this.#machines;
  }

  #machine(name: string, scenario: Scenario, instance: Instance): Machine {
    const { codecs } = this.#equipment;
    const machine = new Machine(name, this.world, this.#backend, this.#chain, scenario, instance, codecs);
    machine.excused = scenario.machines > 1;
    return machine;
  }

  async run(): Promise<void> {
    try {
      await this.#live();
      if (this.world.failure === null) await this.#heal();
      if (this.world.failure === null) await this.#idle();
      if (this.world.failure === null) await this.#restore();
    } catch (error) {
      this.world.fail(error);
    }
    for (const machine of this.#machines) machine.life.dead = true;
  }

  async #live(): Promise<void> {
    const { random } = this.world;
    this.#machines.forEach((machine, i) => {
      if (i === 0 && random.chance(0.8)) machine.prepare();
      machine.boot(i === 0 ? 0 : random.below(20_000));
    });
    this.#chaos();
    const until = this.world.time + 30 * DAY;
    await this.world.run(
      () => this.#machines.every(({ steps, retired }) => steps <= 0 || retired) || this.world.time > until,
    );
  }

  /** Something happens to the world, again and again. */
  #chaos(): void {
    const { random } = this.world;
    this.world.schedule(random.below(this.#scenario.chaosMs), null, "chaos", () => {
      if (this.#healing) return;
      this.#happen();
      this.#chaos();
    });
  }

  #healing = false;

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
        return;
      case "queue":
        machine.queue.trouble = random.chance(0.5) ? scenario.queueTrouble : 0;
        machine.queue.full = scenario.queueTrouble > 0 && random.chance(0.2);
        return;
      case "disk":
        machine.setFull(scenario.fullDisks && random.chance(0.5));
        return;
      case "clock":
        machine.clockAhead += random.pick([-DAY, -HOUR, -1000, 1000, HOUR, DAY]);
        return;
      case "sleep":
        if (random.chance(0.2)) this.world.time += random.pick([MINUTE, HOUR, 3 * DAY]);
        return;
      case "crash":
        if (machine.running && random.chance(0.3)) machine.end();
        return;
      case "loss":
        if (scenario.losses && random.chance(0.1)) machine.lose();
    }
  }

  /** From here on everything works: then everything committed gets into the store, and stays what it is. */
  async #heal(): Promise<void> {
    this.world.note("heals");
    this.#healing = true;
    this.#backend.trouble = 0;
    this.#backend.outage = false;
    for (const machine of this.#machines) machine.heal();
    const until = this.world.time + DAY;
    await this.world.run(() => this.#machines.every((machine) => machine.settled) || this.world.time > until);
    for (const machine of this.#machines)
      this.world.require(
        machine.settled || this.world.failure !== null,
        () => `${machine.name} does not settle: ${machine.describe()}`,
      );
    for (const machine of this.#machines) machine.compare();
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

  async #restore(): Promise<void> {
    const { tail } = this.#chain;
    if (!this.#chain.restorable || tail === null) return;
    for (const machine of this.#machines) machine.life.dead = true;
    const other = this.#machine(
      "r",
      { ...this.#scenario, crashAfter: () => Number.POSITIVE_INFINITY },
      this.#equipment.instances[0]!,
    );
    machines = [other];
    other.life = new Life(this.world, "r1", Number.POSITIVE_INFINITY);
    const done = other.restoreOnly();
    let ended = false;
    void done.then(
      () => {
        ended = true;
      },
      (error: unknown) => this.world.fail(error),
    );
    await this.world.run(() => ended);
    if (this.world.failure !== null) return;
    this.world.require(ended, "the restore does not end");
    const restored = stateOfBytes(other.disk.find(other.dbPath)!.content(), other.hash64);
    const wanted = this.#chain.stateOf(tail);
    this.world.require(
      sameState(restored, wanted),
      () => `restored: ${describeDifference(restored, wanted)}`,
    );
  }
}
