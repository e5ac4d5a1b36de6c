import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { SideFile, type SyncFile } from "../../src/cache/side-file.ts";
import { StagedCache } from "../../src/cache/staged-cache.ts";
import type { CacheAppend, CacheEntry, PositionRecord, WriteCache } from "../../src/cache/write-cache.ts";
import { LocalDatabaseError } from "../../src/errors.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import { idFromBytes } from "../../src/format/id.ts";
import type { OldDatabase } from "../../src/page-writer.ts";
import type { Clock, DatabaseTarget, LocalFile, Platform } from "../../src/platform.ts";
import { settleDatabase } from "../../src/settle.ts";
import { steadyTime } from "../../src/steady-time.ts";
import { stopwatches } from "../../src/stopwatch.ts";
import type { Disk, Inode } from "./disk.ts";
import type { Machine } from "./machine.ts";
import { SimQueue } from "./queue.ts";
import { SIM_VFS } from "./sim-vfs.ts";
import { Crash, type Life, type World } from "./world.ts";

export class DiskFullError extends Error {}

/** One process of a simulated machine, as the core sees it. */
export class SimPlatform implements Platform {
  readonly baseVfs = SIM_VFS;
  readonly shimName = "sluice";
  readonly dbPath: string;
  readonly canonicalPath = (path: string) => path;
  readonly codecs: Codecs;
  readonly cache: WriteCache;
  readonly clock: Clock;
  readonly #machine: Machine;
  readonly #life: Life;

  constructor(
    readonly sqlite3: Sqlite3Static,
    machine: Machine,
  ) {
    this.#machine = machine;
    this.#life = machine.life;
    this.dbPath = machine.dbPath;
    this.codecs = machine.codecs;
    this.clock = simClock(machine, machine.life);
    const staged = new StagedCache({
      name: "simulated",
      openSide: () =>
        new SideFile(new SimFile(machine.disk, machine.life, `${machine.dbPath}-sluice`), machine.hash64),
      queue: new SimQueue(machine.queue, machine.life),
      clock: this.clock,
      isFull: (error) => error instanceof DiskFullError,
      onTrouble: () => undefined,
    });
    this.cache = watched(staged, machine);
  }

  inspect(): LocalFile {
    const begin = this.#begin(512);
    return begin === null || begin.every((byte) => byte === 0) ? "absent" : "present";
  }

  fingerprint(): string | null {
    const inode = this.#machine.disk.find(this.dbPath);
    if (inode === undefined) return null;
    const hash = this.codecs.sha256();
    hash.update(this.#begin(100)!);
    const version = this.#machine.keepsTimes ? inode.version : "";
    return `${inode.size}:${version}:${idFromBytes(hash.digest())}`;
  }

  #begin(length: number): Uint8Array | null {
    this.#life.operation();
    const bytes = new Uint8Array(length);
    const inode = this.#machine.disk.find(this.dbPath);
    inode?.read(bytes, 0);
    return inode === undefined ? null : bytes;
  }

  restoreTarget(): DatabaseTarget {
    return new SimTarget(this.#machine, this.#life, this.sqlite3);
  }

  async release(): Promise<void> {
    await this.cache.close();
  }
}

/** A clock that somebody sets now and then, and that goes on while the process computes. */
export function simClock(machine: { readonly world: World; clockAhead: number }, life: Life): Clock {
  const { random } = machine.world;
  const wall = () => Math.floor(machine.world.time + machine.clockAhead);
  return {
    now: steadyTime(() => {
      if (random.chance(0.1)) machine.clockAhead += random.below(6);
      return wall();
    }),
    stopwatch: stopwatches(wall, () => machine.world.time),
    after: (ms, _holding, callback) => life.schedule(ms + random.below(3), "timer", callback),
    turn: () => life.wait(random.below(3), "turn"),
  };
}

class SimFile implements SyncFile {
  readonly #disk: Disk;
  readonly #life: Life;
  readonly #inode: Inode;

  constructor(
    disk: Disk,
    life: Life,
    readonly path: string,
  ) {
    this.#disk = disk;
    this.#life = life;
    life.operation(`open ${path}`);
    this.#inode = disk.find(path) ?? disk.create(path);
  }

  size(): number {
    return this.#inode.size;
  }

  read(into: Uint8Array, offset: number): boolean {
    return this.#inode.read(into, offset);
  }

  write(bytes: Uint8Array, offset: number): void {
    this.#life.operation(`write ${this.path} ${offset}+${bytes.length}`);
    if (this.#disk.full && offset + bytes.length > this.#inode.size) throw new DiskFullError("no room");
    this.#inode.write(bytes, offset);
  }

  truncate(size: number): void {
    this.#life.operation(`truncate ${this.path} ${size}`);
    this.#inode.truncate(size);
  }

  sync(): void {
    this.#life.operation(`sync ${this.path}`);
    this.#inode.sync();
    this.#disk.syncFolder();
  }

  close(): void {}
}

/** Restores beside the database, and puts it in place by a rename. */
class SimTarget implements DatabaseTarget {
  readonly path: string;
  readonly old: OldDatabase | null;
  readonly #machine: Machine;
  readonly #life: Life;
  readonly #sqlite3: Sqlite3Static;
  readonly #file: SimFile;

  constructor(machine: Machine, life: Life, sqlite3: Sqlite3Static) {
    this.#machine = machine;
    this.#life = life;
    this.#sqlite3 = sqlite3;
    this.path = `${machine.dbPath}.sluice-restore`;
    this.#remove();
    this.#file = new SimFile(machine.disk, life, this.path);
    const inode = machine.disk.find(machine.dbPath);
    const read = async (into: Uint8Array, offset: number) => {
      await life.wait(0, "reads the old database");
      inode?.read(into, offset);
    };
    this.old = inode === undefined ? null : { size: inode.size, read };
  }

  write(bytes: Uint8Array, offset: number): undefined {
    try {
      this.#file.write(bytes, offset);
    } catch (cause) {
      if (cause instanceof Crash) throw cause;
      throw new LocalDatabaseError(this.#machine.dbPath, `cannot be restored: ${cause}`, { cause });
    }
  }

  async finish(size: number): Promise<void> {
    const { disk, dbPath, watch } = this.#machine;
    this.#file.truncate(size);
    this.#file.sync();
    const main = disk.find(dbPath);
    const begin = new Uint8Array(512);
    main?.read(begin, 0);
    if (begin.some((byte) => byte !== 0)) settleDatabase(this.#sqlite3, SIM_VFS, dbPath);
    for (const suffix of ["-wal", "-journal"]) if (disk.find(dbPath + suffix)) disk.remove(dbPath + suffix);
    this.#life.operation("sync folder");
    disk.syncFolder();
    watch.replaced();
    this.#life.operation(`rename ${this.path}`);
    disk.rename(this.path, dbPath);
    this.#life.operation("sync folder");
    disk.syncFolder();
  }

  async abort(): Promise<void> {
    this.#remove();
  }

  #remove(): void {
    this.#life.operation(`remove ${this.path}`);
    const { disk } = this.#machine;
    for (const suffix of ["", "-wal", "-journal"])
      if (disk.find(this.path + suffix)) disk.remove(this.path + suffix);
  }
}

/** Tells the model what the cache calls durable, when it does. */
function watched(cache: WriteCache, { watch }: Machine): WriteCache {
  const recorded = (entry: CacheEntry | null, record: PositionRecord) => watch.recorded(entry, record);
  return {
    load: () => cache.load(),
    entries: () => cache.entries(),
    read: (entry) => cache.read(entry),
    readRange: (entry, offset, length) => cache.readRange(entry, offset, length),
    ack: (entry) => cache.ack(entry),
    dropBacklog: () => cache.dropBacklog(),
    close: () => cache.close(),
    savePosition(record) {
      cache.savePosition(record);
      recorded(null, record);
    },
    markResync(reason) {
      cache.markResync(reason);
      if (watch.record !== null) recorded(null, { resync: reason, ...watch.record });
    },
    append(replacing): CacheAppend {
      const append = cache.append(replacing);
      return {
        write: (chunk) => append.write(chunk),
        abort: () => append.abort(),
        commit(entry, record) {
          append.commit(entry, record);
          recorded(entry, record);
        },
      };
    },
  };
}
