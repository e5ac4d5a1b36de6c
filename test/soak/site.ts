import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ReplicaFollower, type SluiceError } from "../../node/index.ts";
import { bundle } from "../faults/bundle.ts";
import { Random } from "../faults/random.ts";
import { createQuietly } from "../replicator/history-fixture.ts";
import type { Gateway } from "../s3/gateway.ts";
import { freshBucket, ownGateway } from "../s3/server.ts";
import { Figures } from "./figures.ts";
import { SmallDisk } from "./small-disk.ts";
import { TcpProxy, type Weather } from "./tcp-proxy.ts";
import { Writer } from "./writer.ts";

/** Megabytes of the small disk that the database is on. */
const DISK_MEGABYTES = 400;
/** How long a writer may take for what it was told, milliseconds: its uploads back off for a minute. */
const PATIENCE_MS = 240_000;
/** A database that has grown so large makes way for a new one, bytes. */
const LARGE_BYTES = 40_000_000;

export type Fault =
  | { readonly kind: "kill" | "server stopped" | "full disk" | "read-only" }
  | { readonly kind: "stop"; readonly seconds: number }
  | { readonly kind: "EIO"; readonly chance: number; readonly seconds: number }
  | { readonly kind: "network"; readonly weather: Weather; readonly seconds: number };

/** A writer on a small disk, a network that fails, and a server that goes away; and what must come of them. */
export class SoakSite {
  readonly figures = new Figures();
  readonly random: Random;
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-soak-"));
  #disk!: SmallDisk;
  #script = "";
  #gateway!: Gateway;
  #proxy!: TcpProxy;
  #endpoint = "";
  #bucket!: Awaited<ReturnType<typeof freshBucket>>;
  #prefix = "";
  #writer: Writer | null = null;
  #follower: ReplicaFollower | null = null;
  /** Where the writer held still in this history. */
  #states: { readonly txid: number; readonly hash: string }[] = [];
  #lastRow = 0;
  #seed: number;
  /** Corrupted answers may have told a lie about the replica, and a writer that believes in another stops. */
  #mayBeFenced = false;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.#seed = seed;
  }

  /** Whether the disk can be full and read-only. */
  get canMount(): boolean {
    return this.#disk.mounted;
  }

  async prepare(): Promise<void> {
    this.#disk = new SmallDisk(join(this.#folder, "disk"), DISK_MEGABYTES);
    this.#script = await bundle("test/soak/writer-child.ts", this.#folder);
    this.#gateway = await ownGateway();
    this.#proxy = new TcpProxy(this.#gateway.port, this.random);
    this.#endpoint = await this.#proxy.listen();
    this.#bucket = await freshBucket();
    this.#beginHistory();
    await this.#live();
  }

  async clear(): Promise<void> {
    await this.#endFollower();
    await this.#writer?.kill();
    this.#proxy?.close();
    await this.#gateway?.stop();
    this.#disk?.remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #dbPath(): string {
    return join(this.#disk.folder, "app.db");
  }

  #beginHistory(): void {
    for (const suffix of ["", "-wal", "-sluice"])
      rmSync(this.#dbPath + suffix, { recursive: true, force: true });
    this.#prefix = `soak-${this.#seed}-${++this.figures.histories}`;
    this.#lastRow = 0;
    this.#states = [];
  }

  async #live(): Promise<void> {
    this.#writer = this.#spawn();
    await patiently(this.#writer.says("started"), "start", this.#writer);
  }

  #spawn(): Writer {
    this.figures.lives += 1;
    return new Writer(this.#script, {
      dbPath: this.#dbPath,
      s3: { ...this.#bucket, endpoint: this.#endpoint, prefix: this.#prefix },
      seed: this.#seed * 1000 + this.figures.lives,
      lastRow: this.#lastRow,
      pauseMs: 40,
    });
  }

  get #running(): Writer {
    if (this.#writer === null) throw new Error("nobody is writing");
    return this.#writer;
  }

  #noteEnd(): void {
    const writer = this.#running;
    this.#lastRow = writer.lastRow;
    this.figures.commits += writer.said.get("committed") ?? 0;
    for (const outcome of writer.audits) this.figures.note(`audit ${outcome}`, 1, this.figures.said);
    // A snapshot would heal it, and nobody would see it any more.
    if (writer.audits.includes("different")) throw new Error("the replica was not what was committed");
    for (const reason of writer.resyncs) this.figures.note(`resync (${reason})`, 1, this.figures.said);
    for (const word of ["error", "failed", "refused", "fenced"])
      this.figures.note(word, writer.said.get(word) ?? 0, this.figures.said);
    if ((writer.said.get("fenced") ?? 0) > 0 && !this.#mayBeFenced)
      throw new Error(`fenced although nobody else writes: ${writer.lastWords.join("; ")}`);
    this.#writer = null;
  }

  async #kill(): Promise<void> {
    await this.#running.kill();
    this.#noteEnd();
  }

  async suffer(fault: Fault): Promise<void> {
    this.figures.note(fault.kind === "network" ? fault.weather.kind : fault.kind);
    switch (fault.kind) {
      case "kill":
        await this.#kill();
        return this.#live();
      case "stop":
        this.#running.pause();
        await sleep(fault.seconds * 1000);
        return this.#running.resume();
      case "EIO":
        this.#running.tell(`eio ${fault.chance}`);
        await sleep(fault.seconds * 1000);
        return this.#running.tell("eio 0");
      case "network":
        if (fault.weather.kind === "corrupt") this.#mayBeFenced = true;
        this.#proxy.weather = fault.weather;
        await sleep(fault.seconds * 1000);
        this.#proxy.weather = { kind: "fair" };
        return;
      case "server stopped":
        await this.#gateway.stop();
        await sleep(3000);
        return this.#gateway.start();
      case "full disk":
        return this.#disk.full(() => sleep(4000));
      case "read-only":
        return this.#beReadOnly();
    }
  }

  /** A file system that has writers cannot become read-only; the next life finds it so. */
  async #beReadOnly(): Promise<void> {
    await this.#kill();
    await this.#disk.readOnly(async () => {
      this.#writer = this.#spawn();
      await patiently(this.#writer.says("refused"), "be refused");
      await this.#writer.ended();
      this.#noteEnd();
    });
    await this.#live();
  }

  /** The writer holds still; what its replica restores to, past the proxy, is what it reads, byte for byte. */
  async compare(): Promise<void> {
    const writer = this.#running;
    writer.tell("still");
    const still = writer.says("still");
    const stuck = this.#mayBeFenced ? writer.says("fenced") : new Promise<never>(() => undefined);
    stuck.catch(() => undefined);
    const [word, hash, row, txid] =
      (writer.said.get("fenced") ?? 0) > 0
        ? ["fenced"]
        : await patiently(Promise.race([still, stuck]), "be still", writer);
    still.catch(() => undefined);
    if (word === "fenced") {
      // It ends here, and the next life looks again.
      await this.#kill();
      await this.#live();
      return this.compare();
    }
    this.#mayBeFenced = false;
    const copy = await this.#restored("copy.db", {});
    if (copy.hash !== hash) throw new Error(`the replica at row ${row} differs from the database`);
    const verdict = execFileSync("sqlite3", [copy.path, "PRAGMA integrity_check"], { encoding: "utf8" });
    if (verdict !== "ok\n") throw new Error(verdict);
    if (this.#states.length > 0) {
      const earlier = this.random.pick(this.#states);
      const { hash } = await this.#restored("earlier.db", { txid: earlier.txid });
      if (hash !== earlier.hash) throw new Error(`transaction ${earlier.txid} is not restored as it was`);
    }
    this.#states.push({ txid: Number(txid), hash: hash! });
    await this.#compareFollower(Number(txid), contentOf(copy.path));
    if (statSync(this.#dbPath).size > LARGE_BYTES) {
      await this.#kill();
      await this.#endFollower();
      this.#beginHistory();
      return this.#live();
    }
    writer.tell("go");
  }

  /** Past the proxy: what stands in the store is judged, not the way there. */
  async #restored(name: string, at: { txid?: number }): Promise<{ path: string; hash: string }> {
    const path = join(this.#folder, name);
    for (const suffix of ["", "-sluice"]) rmSync(path + suffix, { recursive: true, force: true });
    const replicator = await createQuietly({ dbPath: path, ...this.#location(this.#gateway.endpoint) });
    const options = { integrityCheck: "full", ...at } as const;
    const outcome = await replicator.restore(options).finally(() => replicator.stop());
    if (!outcome.restored) throw new Error(`nothing was restored: ${outcome.reason}`);
    const bytes = readFileSync(path);
    this.figures.restores += 1;
    this.figures.restoredBytes += bytes.length;
    return { path, hash: createHash("sha256").update(bytes).digest("hex") };
  }

  #location(endpoint: string) {
    const { bucket, region, credentials } = this.#bucket;
    return { s3Bucket: bucket, s3Prefix: this.#prefix, s3: { region: region!, credentials, endpoint } };
  }

  /** A follower behind the same proxy comes to hold the same. One that the network drove to an error is begun again. */
  async #compareFollower(txid: number, content: string): Promise<void> {
    const dbPath = join(this.#folder, `followed-${this.figures.histories}.db`);
    for (let tries = 1; ; tries++) {
      try {
        if (this.#follower === null) {
          const where = this.#location(this.#endpoint);
          this.#follower = await ReplicaFollower.create({ ...where, dbPath, pollIntervalMs: 500 });
          await this.#follower.start();
        }
        await patiently(this.#follower.waitFor({ txid }), "be followed");
        break;
      } catch (error) {
        if (tries === 3) throw error;
        const { code = error } = error as Partial<SluiceError>;
        this.figures.note(`follower begun again (${code})`, 1, this.figures.said);
        await this.#endFollower();
      }
    }
    if (contentOf(dbPath) !== content) throw new Error(`the follower at ${txid} holds something else`);
    this.figures.note("followed states", 1, this.figures.said);
  }

  async #endFollower(): Promise<void> {
    await this.#follower?.stop();
    this.#follower = null;
  }

  async end(): Promise<void> {
    await this.#endFollower();
    const writer = this.#running;
    writer.tell("stop");
    const [, uploaded] = await patiently(writer.says("stopped"), "stop", writer);
    await writer.ended();
    this.#noteEnd();
    if (uploaded !== "true") throw new Error("stop() left something behind");
    this.figures.note("bytes through the proxy", this.#proxy.bytes, this.figures.said);
    this.figures.note("corrupted pieces", this.#proxy.corrupted, this.figures.said);
    if (existsSync(`${this.#dbPath}-wal`) && statSync(`${this.#dbPath}-wal`).size > 0)
      throw new Error("stop() left a WAL");
  }
}

/** All that SQL sees, by the native sqlite3. */
function contentOf(path: string): string {
  return execFileSync("sqlite3", [path, ".timeout 10000", ".sha3sum"], { encoding: "utf8" });
}

/** Where it takes too long, what the writer has to say is part of the error. */
async function patiently<T>(promise: Promise<T>, what: string, writer?: Writer | null): Promise<T> {
  const ending = new AbortController();
  const timeout = sleep(PATIENCE_MS, undefined, { signal: ending.signal }).then(
    async () => {
      writer?.tell("status");
      await sleep(3000);
      const words = writer?.lastWords.join("\n") ?? "";
      throw new Error(`it did not ${what} within ${PATIENCE_MS / 1000} s\n${words}`);
    },
    () => new Promise<never>(() => undefined),
  );
  return Promise.race([promise, timeout]).finally(() => ending.abort());
}
