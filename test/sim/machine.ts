import type { Database } from "@sqlite.org/sqlite-wasm";
import { type CommonConfig, checkSettings } from "../../src/config.ts";
import { ReplicaFencedError, type SluiceError, UnknownLocalHistoryError } from "../../src/errors.ts";
import { Replicator } from "../../src/replicator.ts";
import type { RestoreOutcome } from "../../src/restore-database.ts";
import { readPages } from "../../src/snapshot.ts";
import { start } from "../../src/start.ts";
import { PatientStore } from "../../src/store/patient-store.ts";
import { createSchema, randomStep } from "../replicator/workload.ts";
import type { Chain } from "./chain.ts";
import { Disk } from "./disk.ts";
import { isHopeless, judge, SQLITE_CORRUPT, sqliteCode } from "./errors.ts";
import type { Instance } from "./instance.ts";
import { SimPlatform } from "./platform.ts";
import { QueueStorage } from "./queue.ts";
import type { Scenario } from "./scenario.ts";
import { SIM_VFS } from "./sim-vfs.ts";
import { describeDifference, isDatabaseOf, recoverableStates, type State } from "./state.ts";
import { type Backend, SimStore } from "./store.ts";
import { Watch } from "./watch.ts";
import { Crash, Life, type World } from "./world.ts";

const MOST_CONNECTIONS = 3;
const MOST_FAILED_STARTS = 20;
/** synchronous=FULL, SQLite's default: what another program uses. */
const FULL = 2;
/** Milliseconds from the end of a process to the next; longer than what it began can take in the queue. */
const DOWN_MS = 100;

class SimReplicator extends Replicator {
  static async load(machine: Machine, platform: SimPlatform, config: CommonConfig): Promise<SimReplicator> {
    const { position } = await platform.cache.load();
    machine.watch.begin(position);
    const store = new PatientStore(new SimStore(machine.backend, machine.life), platform.clock);
    return new SimReplicator({ platform, store, settings: checkSettings(config), record: position, start });
  }
}

/** A computer with a database, the application that uses it, and one process of it after the other. */
export class Machine {
  readonly dbPath = "/data.db";
  readonly watch: Watch;
  readonly codecs;
  readonly hash64: (bytes: Uint8Array) => bigint;
  disk = new Disk();
  queue = new QueueStorage();
  /** Milliseconds by which its clock is wrong. */
  clockAhead = 0;
  /** Whether its file system keeps the time of the last write. */
  readonly keepsTimes: boolean;
  life: Life;
  replicator: Replicator | null = null;
  /** Steps of the application to come. */
  steps: number;
  /** It is out of use. */
  retired = false;
  fenced = false;
  /** The disk lost power since the last start. */
  #powerLost = false;
  /** What is on it may be anything: synchronous=OFF lost power. */
  #spoilt = false;
  /** Its write cache was lost, or another machine wrote: nothing tells which side is newer. */
  excused = false;
  /** The store has lost its end at some time. */
  endLost = false;
  /** A part of what it held was taken away at some time. */
  robbed = false;
  /** What its write cache held is gone. */
  cacheLost = false;
  /** This process has dropped its backlog. */
  overflowed = false;
  /** When its process began. */
  begun = 0;
  /** Until when a disk that was full may have left errors. */
  fullUntil = 0;
  #lives = 0;
  #healed = false;
  #settled = false;
  #stopping = false;
  #failedStarts = 0;
  #connections: Database[] = [];
  #onUnknownLocal: "error" | "adopt-local" | "adopt-remote" = "error";

  constructor(
    readonly name: string,
    readonly world: World,
    readonly backend: Backend,
    readonly chain: Chain,
    readonly scenario: Scenario,
    readonly instance: Instance,
    codecs: SimPlatform["codecs"],
  ) {
    this.codecs = codecs;
    this.hash64 = (bytes) => codecs.hash64(bytes);
    this.steps = scenario.steps;
    this.keepsTimes = world.random.chance(0.5);
    this.life = new Life(world, `${name}0`, Number.POSITIVE_INFINITY);
    this.life.dead = true;
    this.watch = new Watch(this);
  }

  get running(): boolean {
    return this.replicator !== null && !this.life.dead;
  }

  /** Replication ends, or has. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /** What capture or the cache has lost is not made up for yet. */
  get resyncing(): boolean {
    return this.replicator?.status().state === "resync";
  }

  /** The application has said which side counts, and so what may be given up. */
  get decided(): boolean {
    return this.#onUnknownLocal !== "error";
  }

  get connections(): readonly Database[] {
    return this.#connections;
  }

  /** The database as somebody had it before. */
  prepare(): void {
    const { world, instance, scenario } = this;
    this.life = new Life(world, `${this.name}0`, Number.POSITIVE_INFINITY);
    const sqlite3 = instance.begin(this);
    const { random } = world;
    const db = new sqlite3.oo1.DB({ filename: this.dbPath, flags: "c", vfs: SIM_VFS });
    db.exec(`PRAGMA page_size=${scenario.pageSize}; PRAGMA auto_vacuum=${random.below(3)}`);
    createSchema(db);
    for (let i = random.below(10); i > 0; i--) this.#change(db, FULL);
    db.close();
    this.life.dead = true;
  }

  /** Begins a process, some time from now. */
  boot(delay = DOWN_MS): void {
    const { world } = this;
    this.#lives += 1;
    this.replicator = null;
    this.#stopping = false;
    this.#connections = [];
    const life = new Life(
      world,
      `${this.name}${this.#lives}`,
      this.#healed ? Number.POSITIVE_INFINITY : this.scenario.crashAfter(world.random),
    );
    life.onEnd = () => this.#ended();
    this.life = life;
    life.schedule(delay, "begins", () => this.#run(life));
  }

  /** The process is gone by itself: either only that, or power too. */
  #ended(): void {
    this.world.schedule(DOWN_MS / 2, null, `${this.name} is found dead`, () => {
      if (this.world.random.chance(this.scenario.powerLoss)) this.losePower();
      else if (this.keepsTimes && this.world.random.chance(this.scenario.meddling)) this.#meddle();
      // Somebody who restarts what fails waits longer each time.
      if (!this.retired) this.boot(DOWN_MS * (this.#healed ? 1 : 2 ** Math.min(this.#failedStarts, 12)));
    });
  }

  /** Another program uses the database while nobody replicates it: with SQLite alone, and everything on the medium. */
  #meddle(): void {
    const { world, watch, instance, dbPath } = this;
    const { random } = world;
    if (this.disk.find(dbPath) === undefined || this.disk.full) return;
    world.note(`${this.name} is changed by another program`);
    this.life = new Life(world, `${this.name}x`, Number.POSITIVE_INFINITY);
    const sqlite3 = instance.begin(this);
    watch.left();
    watch.allow(recoverableStates(this.disk, dbPath, this.hash64));
    const db = new sqlite3.oo1.DB({ filename: dbPath, flags: "w", vfs: SIM_VFS });
    db.exec("PRAGMA locking_mode=EXCLUSIVE");
    watch.started(readState(this, db), this.#powerLost);
    this.#powerLost = false;
    for (let i = random.below(4); i > 0; i--) this.#change(db, FULL);
    if (!instance.sqlite3.capi.sqlite3_get_autocommit(db.pointer!)) db.exec("ROLLBACK");
    const isReplicated = db.selectValue("PRAGMA journal_mode") === "wal";
    watch.changed(isReplicated ? readState(this, db) : null);
    db.close();
    this.life.dead = true;
  }

  losePower(): void {
    const { random } = this.world;
    const loss = random.pick([
      "nothing-kept",
      "in-order",
      "any-order",
      "any-order",
      "everything-kept",
    ] as const);
    this.world.note(`${this.name} loses power: ${loss}`);
    this.disk.losePower(loss, random);
    this.#powerLost = true;
    if (this.scenario.synchronous === null) this.#spoilt = true;
    if (this.#spoilt) this.loseDisk();
  }

  /** All that was there is gone. */
  loseDisk(): void {
    this.world.note(`${this.name} loses its disk`);
    this.disk = new Disk();
    this.queue.stored = new QueueStorage().stored;
    this.watch.forget();
    this.#spoilt = false;
    // What it sent may still arrive, and is another writer's then.
    this.excused = true;
    if (!this.chain.restorable) this.retired = true;
  }

  /** Something of what it holds is gone for good. */
  lose(): void {
    const { random } = this.world;
    if (!this.running) return;
    this.excused = true;
    this.robbed = true;
    this.cacheLost = true;
    this.life.onEnd = () => undefined;
    this.end();
    const what = random.pick(["disk", "queue", "side", "cache"] as const);
    this.world.note(`${this.name} loses its ${what}`);
    if (what === "disk") this.loseDisk();
    if (what === "queue" || what === "cache") this.queue.stored = new QueueStorage().stored;
    const side = `${this.dbPath}-sluice`;
    if ((what === "side" || what === "cache") && this.disk.find(side)) {
      this.disk.remove(side);
      this.disk.syncFolder();
    }
    if (!this.retired) this.boot();
  }

  /** The store is about to lose what its last process knew of. */
  loseEnd(): void {
    this.excused = true;
    this.endLost = true;
    this.end();
  }

  /** When it goes on with what it has to do. */
  get awakeAt(): number {
    if (this.retired || this.steps <= 0) return Number.POSITIVE_INFINITY;
    return this.life.dead ? 0 : this.life.asleepUntil;
  }

  setFull(full: boolean): void {
    if (this.disk.full && !full) this.fullUntil = this.world.time + 1000;
    this.disk.full = full;
  }

  clearQueue(): void {
    this.queue.trouble = 0;
    this.queue.full = false;
  }

  /** Nothing goes wrong any more, and nothing is written. */
  heal(): void {
    const { life } = this;
    this.steps = 0;
    this.setFull(false);
    this.clearQueue();
    this.#healed = true;
    life.wake();
    life.remaining = Number.POSITIVE_INFINITY;
    if (this.#stopping) this.end();
    else if (this.replicator !== null && !life.dead) this.#settle(this.replicator);
  }

  /** All that it committed is in the store, or another machine wrote there. */
  get settled(): boolean {
    return this.retired || (this.#settled && !this.#behind);
  }

  /** What the store lost may be found, and another writer be there, after all was uploaded. */
  get #behind(): boolean {
    if (this.replicator === null) return false;
    const { captured, uploaded, state } = this.replicator.status();
    return state !== "fenced" && uploaded !== captured;
  }

  #settle(replicator: Replicator): void {
    const { life } = this;
    for (const db of this.#connections.splice(0)) db.close();
    const attempt = async () => {
      try {
        await replicator.waitUntilUploaded();
        if (replicator.status().lastSnapshot === null) await replicator.snapshot();
        this.#settled = true;
      } catch (error) {
        judge(this, error);
        if (error instanceof ReplicaFencedError) this.#settled = true;
        else life.schedule(1000, "settles", attempt);
      }
    };
    life.schedule(0, "settles", attempt);
  }

  /** What it has is what the store has. */
  compare(): void {
    const { world, chain, replicator } = this;
    if (this.retired || replicator === null) return;
    const { captured, cached, uploaded, state } = replicator.status();
    if (state === "fenced") return;
    world.require(uploaded === captured && cached === captured, `${this.name}: ${this.describe()}`);
    if (state !== "running") return;
    const db = replicator.openDatabase();
    const found = readState(this, db);
    this.#requireFullText(db);
    db.close();
    // Another writer may have gone on, of which this one need not know while it writes nothing: or itself, before its disk was lost.
    world.require(
      this.scenario.machines > 1 || this.excused || chain.tail?.txid === captured,
      `the chain ends at ${chain.tail?.txid}, ${captured} is uploaded`,
    );
    const wanted = chain.stateAt(captured);
    world.require(
      isDatabaseOf(found, wanted),
      () => `${this.name} has another state: ${describeDifference(found, wanted)}`,
    );
  }

  describe(): string {
    return JSON.stringify(this.replicator?.status() ?? "not running");
  }

  /** Restores what the store has, to nothing. Pages are compared with the model's; `checkRestored` judges FTS5's index. */
  async restoreOnly(txid?: number): Promise<RestoreOutcome> {
    const platform = new SimPlatform(this.instance.begin(this), this);
    const replicator = await SimReplicator.load(this, platform, {});
    return replicator.restore({ integrityCheck: "quick", ...(txid !== undefined && { txid }) });
  }

  /** What was restored is what SQLite and its extensions take for sound. */
  checkRestored(): void {
    const sqlite3 = this.instance.begin(this);
    const db = new sqlite3.oo1.DB({ filename: this.dbPath, flags: "w", vfs: SIM_VFS });
    // Without shared memory a WAL database has one connection.
    db.exec("PRAGMA locking_mode=EXCLUSIVE");
    this.#requireFullText(db);
    db.close();
  }

  /** FTS5's own check of its index against what it is of, which a quick one leaves out. */
  #requireFullText(db: Database): void {
    if (db.selectValue("SELECT count(*) FROM sqlite_schema WHERE name = 'f'") === 0) return;
    try {
      db.exec("INSERT INTO f(f) VALUES('integrity-check')");
    } catch (error) {
      if (sqliteCode(error) === SQLITE_CORRUPT)
        this.world.require(false, `${this.name}: FTS5 finds its index damaged`);
      throw error;
    }
  }

  end(): void {
    this.life.end();
  }

  async #run(life: Life): Promise<void> {
    const { world, watch, instance, scenario } = this;
    this.begun = world.time;
    this.overflowed = false;
    try {
      const sqlite3 = instance.begin(this);
      watch.allow(recoverableStates(this.disk, this.dbPath, this.hash64));
      const platform = new SimPlatform(sqlite3, this);
      const replicator = await SimReplicator.load(this, platform, {
        ...scenario.config,
        onUnknownLocal: this.#onUnknownLocal,
      });
      replicator.addEventListener("error", ({ detail }) => judge(this, detail));
      replicator.addEventListener("fenced", ({ detail }) => this.#noteFenced(detail));
      replicator.addEventListener("cache-overflow", () => {
        this.overflowed = true;
      });
      replicator.addEventListener("resync", ({ detail }) => world.note(`${detail.phase} ${detail.reason}`));
      await replicator.start();
      this.replicator = replicator;
      this.#onUnknownLocal = "error";
      this.fenced = false;
      this.#failedStarts = 0;
      const db = replicator.openDatabase();
      watch.started(readState(this, db), this.#powerLost);
      this.#powerLost = false;
      db.close();
      if (this.#healed) this.#settle(replicator);
      else this.#later();
    } catch (error) {
      if (error instanceof Crash || life.dead) return;
      world.note(`start failed: ${error}`);
      judge(this, error);
      this.#failedStarts += 1;
      // Nothing heals a replica whose first snapshot was never completed, where its writer is gone.
      if (this.#healed && this.#failedStarts > MOST_FAILED_STARTS && isHopeless(error)) this.retired = true;
      const undecided = error instanceof UnknownLocalHistoryError || error instanceof ReplicaFencedError;
      if (undecided || this.#onUnknownLocal !== "error") this.#decide();
      this.end();
    }
  }

  #noteFenced(error: SluiceError): void {
    judge(this, error);
    this.fenced = true;
  }

  /** Nobody can know which side counts; the application does. */
  #decide(): void {
    this.#onUnknownLocal = this.world.random.pick(["adopt-local", "adopt-remote"]);
  }

  #later(): void {
    const { random } = this.world;
    const delay = random.chance(0.7) ? random.below(30) : random.below(this.scenario.pauseMs);
    this.life.schedule(delay, "app", () => this.#step());
  }

  #step(): void {
    if (this.replicator === null || this.steps <= 0) return;
    this.steps -= 1;
    const { random } = this.world;
    if (this.fenced && random.chance(0.2)) {
      this.#decide();
      this.end();
      return;
    }
    if (random.chance(0.85)) this.#sql();
    else if (!this.#stopping) this.#replication(this.replicator);
    this.#later();
  }

  #sql(): void {
    try {
      this.#changeConnections();
      if (this.#connections.length > 0) this.#randomStep(this.world.random.below(this.#connections.length));
    } catch (error) {
      if (error instanceof Crash || this.life.dead) throw new Crash(this.name);
      judge(this, error);
    }
  }

  #changeConnections(): void {
    const { random } = this.world;
    const connections = this.#connections;
    // What is open when replication ends still works.
    if (this.#stopping) return;
    if (connections.length === 0 || (connections.length < MOST_CONNECTIONS && random.chance(0.1)))
      this.#connect();
    else if (random.chance(0.03)) {
      const [db] = connections.splice(random.below(connections.length), 1);
      db!.close();
    }
  }

  #randomStep(at: number): void {
    const what = this.#change(this.#connections[at]!, this.scenario.synchronous);
    this.world.note(`${this.name} ${at} ${what}`);
  }

  /** `synchronous` stays as it is; null: it may become anything. */
  #change(db: Database, synchronous: Scenario["synchronous"]): string {
    const { world, instance, scenario } = this;
    const { sqlite3 } = instance;
    const { pageSize, scale } = scenario;
    const what = randomStep({ sqlite3, db, random: world.random, pageSize, scale });
    if (what === "synchronous" && synchronous !== null) db.exec(`PRAGMA synchronous=${synchronous}`);
    return what;
  }

  #connect(): void {
    const db = this.replicator!.openDatabase();
    this.#connections.push(db);
    const { synchronous } = this.scenario;
    if (synchronous !== null) db.exec(`PRAGMA synchronous=${synchronous}`);
    if (db.selectValue("SELECT count(*) FROM sqlite_schema") === 0) createSchema(db);
  }

  #replication(replicator: Replicator): void {
    const { random } = this.world;
    const what = random.pick(["flush", "snapshot", "wait", "wake", "stop", "kill"] as const);
    this.world.note(`${this.name} ${what}`);
    if (what === "flush") this.#expect(replicator.flush());
    else if (what === "snapshot") this.#expect(replicator.snapshot());
    else if (what === "wait") this.#expect(replicator.waitUntilUploaded());
    else if (what === "wake") replicator.wake();
    else if (what === "kill") this.end();
    else {
      if (random.chance(0.8)) for (const db of this.#connections.splice(0)) db.close();
      this.#stopping = true;
      this.#expect(replicator.stop().finally(() => this.#endLater()));
    }
  }

  /** Connections that outlive replication go on for a while. */
  #endLater(): void {
    const { random } = this.world;
    const delay = this.#connections.length > 0 && random.chance(0.5) ? random.below(5000) : 0;
    this.life.schedule(delay, "is done", () => this.end());
  }

  #expect(promise: Promise<unknown>): void {
    promise.catch((error: unknown) => judge(this, error));
  }
}

/** What SQLite reads. */
export function readState({ instance, codecs }: Machine, db: Database): State {
  const { sqlite3 } = instance;
  const pageSize = Number(db.selectValue("PRAGMA page_size"));
  const pages: bigint[] = [];
  for (const { page } of readPages(sqlite3, db, pageSize)) pages.push(codecs.hash64(page));
  return { pageSize, pages };
}
