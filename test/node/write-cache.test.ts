import { execFileSync } from "node:child_process";
import * as nodeFs from "node:fs";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { CacheFs } from "../../node/cache-directory.ts";
import { FsWriteCache } from "../../node/write-cache.ts";
import type { CacheEntry, CacheState, WriteCache } from "../../src/cache/write-cache.ts";
import {
  append,
  entryOf,
  expectObject,
  object,
  position,
  record,
  writeCacheSuite,
} from "../suites/write-cache.ts";

// Thousands of directories and syncs: in memory where there is such a place.
const base = mkdtempSync(join(nodeFs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "sluice-cache-"));
afterAll(() => rmSync(base, { recursive: true }));
let directories = 0;
function freshDirectory(): string {
  directories += 1;
  return join(base, `${directories}`);
}

writeCacheSuite("FsWriteCache", async () => {
  const directory = freshDirectory();
  return { cache: new FsWriteCache(directory), reopen: async () => new FsWriteCache(directory) };
});

type Call = (...args: unknown[]) => unknown;

/** The real fs, with `around` in the way of every call. */
function fsAround(around: (name: string, args: unknown[], real: Call) => unknown): CacheFs {
  return new Proxy(nodeFs, {
    get: (target, name: keyof typeof nodeFs) => {
      const real = target[name] as Call;
      return (...args: unknown[]) => around(name, args, real);
    },
  }) as CacheFs;
}

function errno(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up`), { code });
}

/** Answers as the call would: the asynchronous one through its callback. */
function fail(code: string, args: unknown[]): unknown {
  const last = args.at(-1);
  if (typeof last !== "function") throw errno(code);
  return queueMicrotask(() => last(errno(code)));
}

/** How the one call of a number goes wrong. */
const FAULTS = {
  "fails with EIO": { code: "EIO", effect: false, lasts: false, dies: false },
  "fails with EIO although it happened": { code: "EIO", effect: true, lasts: false, dies: false },
  "fails with ENOSPC": { code: "ENOSPC", effect: false, lasts: false, dies: false },
  "and all after it fail with EIO for a while": { code: "EIO", effect: false, lasts: true, dies: false },
  "happens, and it and all after it fail for a while": {
    code: "EIO",
    effect: true,
    lasts: true,
    dies: false,
  },
  "is where the process dies, before it": { code: "EDEAD", effect: false, lasts: true, dies: true },
  "is where the process dies, after it": { code: "EDEAD", effect: true, lasts: true, dies: true },
} as const;

class FaultyFs {
  calls = 0;
  at = Number.POSITIVE_INFINITY;
  fault: (typeof FAULTS)[keyof typeof FAULTS] = FAULTS["fails with EIO"];
  readonly fs = fsAround((_, args, real) => {
    const call = this.calls++;
    if (call < this.at || (call > this.at && !this.fault.lasts)) return real(...args);
    if (call === this.at && this.fault.effect) {
      const last = args.at(-1);
      real(...(typeof last === "function" ? [...args.slice(0, -1), () => undefined] : args));
    }
    return fail(this.fault.code, args);
  });
  arm(at: number, fault: (typeof FAULTS)[keyof typeof FAULTS]): void {
    this.calls = 0;
    this.at = at;
    this.fault = fault;
  }
  disarm(): void {
    this.at = Number.POSITIVE_INFINITY;
  }
}

interface Step {
  prepare(cache: WriteCache): Promise<void>;
  act(cache: WriteCache): Promise<void>;
  /** What the caller does next when it failed; `act` again unless said. */
  retry?(cache: WriteCache): Promise<void>;
  /** No single failing call can make it fail. */
  readonly always?: true;
  /** A state that a crash may leave in between and that is as good as the old one. */
  readonly between?: CacheState;
}

const three = [entryOf(0, 1), entryOf(1, 2), entryOf(2, 3)];
const fillThree = async (cache: WriteCache) => {
  for (let txid = 0; txid < 3; txid++) await append(cache, txid, txid + 1);
};

const STEPS: Record<string, Step> = {
  "the first append": {
    prepare: async () => undefined,
    act: async (cache) => void (await append(cache, 0, 1)),
  },
  append: { prepare: fillThree, act: async (cache) => void (await append(cache, 3, 4)) },
  "append after all was acknowledged": {
    prepare: async (cache) => {
      await fillThree(cache);
      for (const entry of three) await cache.ack(entry);
    },
    act: async (cache) => void (await append(cache, 3, 4)),
  },
  "append that replaces": {
    prepare: fillThree,
    act: async (cache) => void (await append(cache, 1, 4, { replacing: three.slice(1) })),
  },
  "append that ends a resync": {
    prepare: async (cache) => {
      await fillThree(cache);
      await cache.markResync("why");
      await cache.dropBacklog();
    },
    act: async (cache) => void (await append(cache, 1, 9)),
  },
  savePosition: {
    prepare: fillThree,
    act: async (cache) => cache.savePosition(record(3, { fingerprint: "new" })),
  },
  "savePosition over another": {
    prepare: async (cache) => {
      await fillThree(cache);
      await cache.savePosition(record(3, { fingerprint: "old" }));
    },
    act: async (cache) => cache.savePosition(record(3, { fingerprint: "new" })),
  },
  ack: { prepare: fillThree, act: (cache) => cache.ack(entryOf(0, 1)) },
  "ack of the last": {
    prepare: async (cache) => void (await append(cache, 0, 1)),
    act: (cache) => cache.ack(entryOf(0, 1)),
  },
  "ack of a large last": {
    prepare: async (cache) => {
      const segment = cache.append();
      await segment.write(new Uint8Array(100_000));
      await segment.commit({ ...entryOf(0, 1), size: 100_000 }, record(1));
    },
    act: (cache) => cache.ack({ ...entryOf(0, 1), size: 100_000 }),
    // The record is written anew after the entry left, and that is tried only once.
    retry: async (cache) => {
      const [head] = cache.entries();
      if (head !== undefined) await cache.ack(head);
    },
  },
  markResync: { prepare: fillThree, act: async (cache) => cache.markResync("why"), always: true },
  dropBacklog: {
    prepare: async (cache) => {
      await fillThree(cache);
      await cache.markResync("why");
    },
    act: (cache) => cache.dropBacklog(),
    between: { position: record(3, { resync: "why" }), entries: three.slice(0, 2) },
  },
};

function stateOf(state: CacheState): unknown {
  // A mark made by a deletion cannot keep its reason.
  const { position: saved, entries } = state;
  return { entries, position: saved?.resync === undefined ? saved : { ...saved, resync: "why" } };
}

async function loadReal(directory: string): Promise<{ cache: FsWriteCache; state: unknown }> {
  const cache = new FsWriteCache(directory);
  const state = stateOf(await cache.load());
  for (const entry of cache.entries()) if (entry.size < 50_000) await expectObject(cache, entry);
  return { cache, state };
}

/** What a start would find now; the directory stays as it is. */
async function loadCopy(directory: string): Promise<{ state: unknown }> {
  const copy = freshDirectory();
  nodeFs.cpSync(directory, copy, { recursive: true });
  const { cache, state } = await loadReal(copy);
  await cache.close();
  rmSync(copy, { recursive: true });
  return { state };
}

/** The queue goes on from where it is, whatever happened before. A head whose ack failed may be gone all the same. */
async function goOn(cache: WriteCache, directory: string): Promise<void> {
  const txid = Math.max(cache.entries().at(-1)?.to.txid ?? 0, 20);
  const from = cache.entries().at(-1)?.to.txid ?? 10;
  await append(cache, from, txid + 1);
  await append(cache, txid + 1, txid + 2);
  const entries = cache.entries();
  const { state } = await loadCopy(directory);
  const allowed = [entries, entries.slice(1)].map((each) => ({ position: record(txid + 2), entries: each }));
  expect(allowed).toContainEqual(state);
  for (const entry of entries) await cache.ack(entry);
  const { cache: last, state: empty } = await loadReal(directory);
  expect(empty).toEqual({ position: record(txid + 2), entries: [] });
  await last.close();
}

describe("a fault at every call", () => {
  for (const [name, step] of Object.entries(STEPS)) {
    test.each(Object.entries(FAULTS))(`${name}: a call %s`, async (_, fault) => {
      let faults = 0;
      for (let at = 0; ; at++) {
        const directory = freshDirectory();
        const faulty = new FaultyFs();
        const cache = new FsWriteCache(directory, faulty.fs);
        await cache.load();
        await step.prepare(cache);
        const { cache: before, state: old } = await loadReal(directory);
        await before.close();

        faulty.arm(at, fault);
        const failure = await step.act(cache).then(
          () => null,
          (error: unknown) => error,
        );
        const reached = faulty.calls > at;
        faulty.disarm();
        if (failure !== null) {
          expect(failure).toMatchObject({ code: "SLUICE_CACHE", full: fault.code === "ENOSPC" });
          faults += 1;
        }
        if (!reached) {
          expect(failure).toBeNull();
          break;
        }
        if (fault.dies) {
          const reference = await outcome(step);
          const { cache: next, state } = await loadReal(directory);
          const allowed = [old, reference, ...(step.between === undefined ? [] : [stateOf(step.between)])];
          expect(allowed).toContainEqual(state);
          if (failure === null) expect(state).toEqual(reference);
          await goOn(next, directory);
          await next.close();
        } else {
          if (failure !== null) await (step.retry ?? step.act)(cache);
          expect((await loadCopy(directory)).state).toEqual(await outcome(step));
          await goOn(cache, directory);
        }
        await cache.close();
        rmSync(directory, { recursive: true });
      }
      if (step.always && !fault.lasts) expect(faults).toBe(0);
      else expect(faults, "calls that made it fail").toBeGreaterThan(0);
    });

    test.each(["EIO", "ENOSPC"])(`${name}: failed with %s and not tried again, then others`, async (code) => {
      for (let at = 0; ; at++) {
        const directory = freshDirectory();
        const faulty = new FaultyFs();
        const cache = new FsWriteCache(directory, faulty.fs);
        await cache.load();
        await step.prepare(cache);
        faulty.arm(at, { code: code as "EIO", effect: true, lasts: false, dies: false });
        await step.act(cache).catch(() => undefined);
        const reached = faulty.calls > at;
        faulty.disarm();
        if (!reached) break;
        await goOn(cache, directory);
        await cache.close();
        rmSync(directory, { recursive: true });
      }
    });
  }

  const outcomes = new Map<Step, unknown>();
  async function outcome(step: Step): Promise<unknown> {
    if (!outcomes.has(step)) {
      const directory = freshDirectory();
      const cache = new FsWriteCache(directory);
      await cache.load();
      await step.prepare(cache);
      await step.act(cache);
      await cache.close();
      const { cache: next, state } = await loadReal(directory);
      await next.close();
      outcomes.set(step, state);
    }
    return outcomes.get(step);
  }

  test("a commit that failed never counts, not even when all cleaning up failed, whatever comes next", async () => {
    const next: Record<string, (cache: WriteCache) => Promise<unknown>> = {
      ack: (cache) => cache.ack(entryOf(0, 1)),
      savePosition: async (cache) => cache.savePosition(record(3, { fingerprint: "x" })),
      dropBacklog: async (cache) => {
        cache.markResync("why");
        await cache.dropBacklog();
      },
    };
    for (const act of Object.values(next)) {
      for (let at = 0; ; at++) {
        const directory = freshDirectory();
        const faulty = new FaultyFs();
        const cache = new FsWriteCache(directory, faulty.fs);
        await cache.load();
        await fillThree(cache);
        faulty.arm(at, FAULTS["happens, and it and all after it fail for a while"]);
        const failed = await append(cache, 3, 4).then(
          () => false,
          () => true,
        );
        faulty.disarm();
        if (!failed) break;
        await act(cache);
        const { entries, position: saved } = (await loadCopy(directory)).state as CacheState;
        expect(entries).toEqual(cache.entries());
        expect(saved?.cached).toEqual(position(3));
        await cache.close();
      }
    }
  });

  test("load: wherever it dies, the next one finds the same", async () => {
    for (let at = 0; ; at++) {
      const directory = freshDirectory();
      const first = new FsWriteCache(directory);
      await first.load();
      await fillThree(first);
      const hidden = join(base, "hidden");
      nodeFs.cpSync(directory, hidden, { recursive: true });
      await append(first, 1, 4, { replacing: three.slice(1) });
      // As after a crash that undid the removal of what was replaced.
      for (const name of readdirSync(hidden)) nodeFs.cpSync(join(hidden, name), join(directory, name));
      writeFileSync(join(directory, "00000000000000ff.tmp"), "half");
      rmSync(hidden, { recursive: true });

      const faulty = new FaultyFs();
      faulty.arm(at, FAULTS["is where the process dies, before it"]);
      const died = await new FsWriteCache(directory, faulty.fs).load().then(
        () => false,
        () => true,
      );
      const { cache, state } = await loadReal(directory);
      expect(state).toEqual({ position: record(4), entries: [entryOf(0, 1), entryOf(1, 4)] });
      expect(readdirSync(directory).filter((name) => name.endsWith(".tmp"))).toEqual([]);
      await cache.close();
      if (!died) break;
    }
  });
});

/**
 * A machine that loses power keeps of a file what was synced of it, and of a directory what was synced and then any
 * of the changes that followed.
 */
class PowerLossFs {
  readonly #synced = new Map<string, Buffer>();
  readonly #names = new Map<string, string>();
  #changes: ((names: Map<string, string>) => void)[] = [];
  readonly #inodes = new Map<number, string>();
  #inodeCount = 0;
  readonly fs: CacheFs;

  constructor(private readonly directory: string) {
    const live = new Map<string, string>();
    for (const name of nodeFs.existsSync(directory) ? readdirSync(directory) : []) {
      const path = join(directory, name);
      for (const names of [live, this.#names]) names.set(path, name);
      this.#synced.set(name, readFileSync(path));
    }
    this.fs = fsAround((name, args, real) => {
      const result = real(...args) as number;
      const [first, second] = args as [never, never];
      if (name === "openSync") {
        this.#inodes.set(result, live.get(first) ?? "");
        if (second === "wx") {
          const inode = `${++this.#inodeCount}`;
          live.set(first, inode);
          this.#inodes.set(result, inode);
          this.#change((names) => names.set(first, inode));
        } else if (first === directory) this.#inodes.set(result, "directory");
      } else if (name === "renameSync") {
        const moved = live.get(first)!;
        live.set(second, moved);
        live.delete(first);
        this.#change((names) => {
          names.delete(first);
          names.set(second, moved);
        });
      } else if (name === "unlinkSync") {
        live.delete(first);
        this.#change((names) => names.delete(first));
      } else if (name === "fdatasyncSync") {
        const inode = this.#inodes.get(first)!;
        const path = [...live].find(([, each]) => each === inode)![0];
        this.#synced.set(inode, readFileSync(path));
      } else if (name === "fsyncSync" || name === "fsync") {
        if (this.#inodes.get(first) === "directory") {
          for (const change of this.#changes) change(this.#names);
          this.#changes = [];
        }
      }
      return result;
    });
  }

  #change(change: (names: Map<string, string>) => void): void {
    this.#changes.push(change);
  }

  /** One directory for each choice of unsynced changes that may have survived. */
  survivors(): string[] {
    return Array.from({ length: 2 ** this.#changes.length }, (_, choice) => {
      const names = new Map(this.#names);
      for (const [i, change] of this.#changes.entries()) if ((choice >> i) & 1) change(names);
      const survivor = freshDirectory();
      mkdirSync(survivor);
      for (const [path, inode] of names) {
        writeFileSync(join(survivor, path.slice(this.directory.length + 1)), this.#synced.get(inode) ?? "");
      }
      return survivor;
    });
  }
}

class PoweredCache {
  readonly directory: string;
  disk: "good" | "full" | "dead after a rename" | "dead" = "good";
  cache: FsWriteCache;
  now: unknown = { position: null, entries: [] };
  readonly #power: PowerLossFs;
  readonly #fs: CacheFs;
  readonly #survivors: string[] = [];
  #inStep = false;

  constructor(directory: string) {
    this.directory = directory;
    const power = new PowerLossFs(directory);
    this.#power = power;
    this.#fs = new Proxy(power.fs, {
      get: (target, name: keyof CacheFs) => {
        const call = target[name] as Call;
        return (...args: unknown[]) => {
          if (this.#inStep) this.#survivors.push(...power.survivors());
          if (this.disk === "dead" || (this.disk === "full" && name === "writeSync")) throw errno("ENOSPC");
          const result = call(...args);
          if (this.disk === "dead after a rename" && name === "renameSync") {
            this.disk = "dead";
            throw errno("EDEAD");
          }
          return result;
        };
      },
    });
    this.cache = new FsWriteCache(directory, this.#fs);
  }

  restart(): void {
    this.disk = "good";
    this.cache = new FsWriteCache(this.directory, this.#fs);
  }

  /** Loses the power before every call and at the end. `between`: other states that may be left on the way. */
  async step(
    act: (cache: FsWriteCache) => unknown,
    between: (state: CacheState) => boolean = () => false,
  ): Promise<void> {
    const old = this.now;
    this.#inStep = true;
    await act(this.cache);
    this.#inStep = false;
    this.now = (await loadCopy(this.directory)).state;
    for (const survivor of this.#survivors.splice(0)) {
      const { state } = await loadCopy(survivor);
      if (!between(state as CacheState)) expect([old, this.now]).toContainEqual(state);
      rmSync(survivor, { recursive: true });
    }
    for (const survivor of this.#power.survivors()) {
      expect((await loadCopy(survivor)).state).toEqual(this.now);
      rmSync(survivor, { recursive: true });
    }
  }
}

describe("power lost at every call: the state is that before or after the step, and at its end that after it", () => {
  const partOf =
    (backlog: readonly CacheEntry[]) =>
    ({ position: saved, entries }: CacheState) =>
      saved?.resync === "why" && backlog.some((_, i) => isEqual(entries, backlog.slice(0, i + 1)));

  test("appends, merges, acks, checkpoints", async () => {
    const powered = new PoweredCache(freshDirectory());
    await powered.cache.load();
    await powered.step((cache) => append(cache, 0, 1));
    await powered.step((cache) => cache.ack(entryOf(0, 1)));
    for (let txid = 1; txid < 6; txid++) await powered.step((cache) => append(cache, txid, txid + 1));
    const replacing = [entryOf(2, 3), entryOf(3, 4)];
    await powered.step((cache) => append(cache, 2, 4, { replacing, saved: record(6) }));
    await powered.step((cache) => cache.savePosition(record(6, { fingerprint: "checkpoint" })));
    await powered.step((cache) => cache.ack(entryOf(1, 2)));
    expect(powered.now).toMatchObject({ entries: [entryOf(2, 4), entryOf(4, 5), entryOf(5, 6)] });
  });

  test("a start that builds on what a dead process had not yet synced", async () => {
    const powered = new PoweredCache(freshDirectory());
    await powered.cache.load();
    for (let txid = 0; txid < 3; txid++) await powered.step((cache) => append(cache, txid, txid + 1));
    powered.disk = "dead after a rename";
    await append(powered.cache, 1, 8, { replacing: three.slice(1) }).catch(() => undefined);
    powered.restart();
    await powered.step((cache) => cache.load());
    expect(powered.now).toEqual({ position: record(8), entries: [entryOf(0, 1), entryOf(1, 8)] });
    await powered.step((cache) => cache.ack(entryOf(0, 1)));
    await powered.step((cache) => cache.ack(entryOf(1, 8)));
    expect(powered.now).toEqual({ position: record(8), entries: [] });
  });

  test.each(["good", "full"] as const)("resync on a disk that is %s", async (disk) => {
    const backlog = [...three, entryOf(3, 4)];
    for (const count of [4, 2]) {
      const powered = new PoweredCache(freshDirectory());
      await powered.cache.load();
      for (let txid = 0; txid < count; txid++) await powered.step((cache) => append(cache, txid, txid + 1));
      powered.disk = disk;
      await powered.step((cache) => cache.markResync("why"));
      expect(powered.now).toMatchObject({ position: record(count, { resync: "why" }) });
      // Any part of the backlog may be left: all of it is given up.
      await powered.step((cache) => cache.dropBacklog(), partOf(backlog));
      powered.disk = "good";
      await powered.step((cache) => append(cache, 1, 30));
      await powered.step((cache) => cache.ack(entryOf(0, 1)));
      await powered.step((cache) => cache.ack(entryOf(1, 30)));
      expect(powered.now).toEqual({ position: record(30), entries: [] });
    }
  });

  test.each(["by a record", "by its permit"])(
    "a start after a backlog was dropped in part, marked %s",
    async (how) => {
      const directory = freshDirectory();
      const first = new FsWriteCache(directory);
      await first.load();
      for (let txid = 0; txid < 5; txid++) await append(first, txid, txid + 1);
      if (how === "by a record") first.markResync("why");
      await first.close();
      const names = readdirSync(directory).sort();
      const entries = names.filter((name) => name.endsWith(".entry"));
      rmSync(join(directory, entries[1]!));
      rmSync(join(directory, entries[2]!));
      if (how === "by its permit") rmSync(join(directory, names.find((each) => each.endsWith(".permit"))!));
      const powered = new PoweredCache(directory);
      const marked = { position: record(5, { resync: "why" }), entries: [entryOf(0, 1)] };
      powered.now = marked;
      await powered.step((cache) => cache.load());
      expect(powered.now).toEqual(marked);
      await powered.step((cache) => append(cache, 1, 9));
      expect(powered.now).toEqual({ position: record(9), entries: [entryOf(0, 1), entryOf(1, 9)] });
    },
  );
});

function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

describe("cost", () => {
  test("an append syncs one file and the directory once, and reads nothing", async () => {
    const calls: string[] = [];
    const cache = new FsWriteCache(
      freshDirectory(),
      fsAround((name, args, real) => {
        calls.push(name);
        return real(...args);
      }),
    );
    await cache.load();
    await append(cache, 0, 1);
    calls.length = 0;
    await append(cache, 1, 2);
    expect(calls).toEqual([
      "openSync",
      "writeSync",
      "writeSync",
      "writeSync",
      "fdatasyncSync",
      "closeSync",
      "renameSync",
      "fsyncSync",
    ]);
    calls.length = 0;
    await cache.ack(entryOf(0, 1));
    await cache.ack(entryOf(1, 2));
    expect(calls).toEqual(["unlinkSync", "fsync", "renameSync", "fsync"]);
  });

  test("what is synchronous returns undefined", async () => {
    const cache = new FsWriteCache(freshDirectory());
    await cache.load();
    const segment = cache.append();
    expect(segment.write(object(0, 1))).toBeUndefined();
    expect(segment.commit(entryOf(0, 1), record(1))).toBeUndefined();
    expect(segment.abort()).toBeUndefined();
    expect(cache.savePosition(record(1))).toBeUndefined();
    expect(cache.markResync("why")).toBeUndefined();
  });

  test("64 MiB go through in 256 KiB, in and out", async () => {
    const cache = new FsWriteCache(freshDirectory());
    await cache.load();
    const size = 64 * 1024 * 1024;
    const chunk = new Uint8Array(256 * 1024).fill(1);
    const before = process.memoryUsage();
    const segment = cache.append();
    for (let at = 0; at < size; at += chunk.length) segment.write(chunk);
    const entry = { from: position(0), to: position(1), size, time: 1 };
    segment.commit(entry, record(1));
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(8 * 1024 * 1024);
    const body = cache.read(entry);
    let total = 0;
    if ("chunks" in body) {
      for await (const each of body.chunks()) {
        expect(each.length).toBeLessThanOrEqual(256 * 1024);
        total += each.length;
      }
    }
    expect(total).toBe(size);
    await cache.ack(entry);
    expect(await loadReal((await lastDirectory()) as string)).toMatchObject({
      state: { position: record(1), entries: [] },
    });
    const left = readdirSync(await lastDirectory()).map(
      (name) => statSync(join(base, `${directories}`, name)).size,
    );
    expect(Math.max(...left)).toBeLessThan(4096);
  });

  async function lastDirectory(): Promise<string> {
    return join(base, `${directories}`);
  }

  test("the directory is the user's alone", async () => {
    const directory = freshDirectory();
    const cache = new FsWriteCache(join(directory, "a", "b"));
    await cache.load();
    await append(cache, 0, 1);
    expect(statSync(join(directory, "a", "b")).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(join(directory, "a", "b"))) {
      expect(statSync(join(directory, "a", "b", name)).mode & 0o777).toBe(0o600);
    }
  });
});

describe("damage", () => {
  async function filled(): Promise<string> {
    const directory = freshDirectory();
    const cache = new FsWriteCache(directory);
    await cache.load();
    for (let txid = 0; txid < 3; txid++) await append(cache, txid, txid + 1);
    await cache.savePosition(record(3, { fingerprint: "last" }));
    await cache.close();
    return directory;
  }
  async function expectRefusal(directory: string, name: string, fs: CacheFs = nodeFs): Promise<void> {
    const before = readdirSync(directory);
    const failure = (await new FsWriteCache(directory, fs).load().catch((error: unknown) => error)) as Error;
    expect(failure).toMatchObject({ code: "SLUICE_CACHE", full: false });
    expect(failure.message).toContain(name);
    expect(readdirSync(directory)).toEqual(before);
  }
  const records = (directory: string) => readdirSync(directory).filter((name) => /entry|position/.test(name));

  test("truncated: every length of every file, never dropped in silence", async () => {
    const directory = await filled();
    for (const name of records(directory)) {
      const path = join(directory, name);
      const whole = readFileSync(path);
      for (let length = 0; length < whole.length; length += length < whole.length - 80 ? 37 : 1) {
        writeFileSync(path, whole.subarray(0, length));
        await expectRefusal(directory, name);
      }
      writeFileSync(path, whole);
    }
    await new FsWriteCache(directory).load();
  });

  test("altered: every byte of record and footer", async () => {
    const directory = await filled();
    for (const name of records(directory)) {
      const path = join(directory, name);
      const whole = readFileSync(path);
      const from = whole.indexOf('{"');
      for (let at = from; at < whole.length; at++) {
        const altered = Buffer.from(whole);
        altered[at]! ^= 1 << (at % 8);
        writeFileSync(path, altered);
        await expectRefusal(directory, name);
      }
      writeFileSync(path, whole);
    }
    await new FsWriteCache(directory).load();
  });

  test("longer, or under the name of another", async () => {
    const directory = await filled();
    const [first, second] = records(directory) as [string, string];
    const whole = readFileSync(join(directory, first));
    writeFileSync(join(directory, first), Buffer.concat([Buffer.from("x"), whole]));
    await expectRefusal(directory, first);
    writeFileSync(join(directory, first), readFileSync(join(directory, second)));
    await expectRefusal(directory, first);
    writeFileSync(join(directory, first), whole);
    const last = readdirSync(directory).find((name) => name.endsWith(".position"))!;
    nodeFs.renameSync(join(directory, last), join(directory, "00000000000000ff.position"));
    await expectRefusal(directory, "00000000000000ff.position");
  });

  test("a folder, or nothing, is where a file was, and one that cannot be read", async () => {
    const directory = await filled();
    for (const name of records(directory)) {
      const path = join(directory, name);
      const whole = readFileSync(path);
      rmSync(path);
      mkdirSync(path);
      await expectRefusal(directory, name);
      nodeFs.rmdirSync(path);
      nodeFs.symlinkSync(join(directory, "nothing"), path);
      await expectRefusal(directory, name);
      rmSync(path);
      writeFileSync(path, whole);
      for (const [call, message] of [
        ["openSync", `EIO: i/o error, open '${path}'`],
        ["fstatSync", "EIO: i/o error, fstat"],
        ["readSync", "EIO: i/o error, read"],
      ]) {
        let opened: unknown;
        const failing = fsAround((method, args, real) => {
          const isIt = method === "openSync" ? args[0] === path : args[0] === opened;
          if (isIt && method === call) throw Object.assign(new Error(message), { code: "EIO" });
          const answer = real(...args);
          if (isIt && method === "openSync") opened = answer;
          return answer;
        });
        await expectRefusal(directory, name, failing);
      }
    }
    await new FsWriteCache(directory).load();
  });

  test("a missing entry in the middle or at the end", async () => {
    for (const [missing, named] of [
      [1, 2],
      [2, 1],
    ] as const) {
      const directory = await filled();
      const entries = readdirSync(directory).filter((name) => name.endsWith(".entry"));
      rmSync(join(directory, entries[missing]!));
      await expectRefusal(directory, entries[named]!);
    }
  });

  test("a missing permit means resync, not silence", async () => {
    const directory = await filled();
    for (const name of readdirSync(directory).filter((each) => each.endsWith(".permit"))) {
      rmSync(join(directory, name));
    }
    expect((await new FsWriteCache(directory).load()).position?.resync).toBeTypeOf("string");
  });

  test("strangers in the directory are left alone", async () => {
    const directory = await filled();
    for (const name of ["lock", "notes.txt", "1.entry", "00000000000000zz.tmp"])
      writeFileSync(join(directory, name), "");
    await new FsWriteCache(directory).load();
    expect(readdirSync(directory)).toEqual(expect.arrayContaining(["lock", "notes.txt", "1.entry"]));
  });
});

describe.runIf(process.platform === "linux" && process.getuid?.() === 0)("a full disk", () => {
  /** A small file system of its own. */
  async function onSmallDisk(act: (mount: string) => Promise<void>): Promise<void> {
    const mount = freshDirectory();
    mkdirSync(mount);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
    try {
      await act(mount);
    } finally {
      execFileSync("umount", ["--lazy", mount]);
    }
  }
  function fill(mount: string): void {
    for (const size of [65_536, 4096, 1]) {
      for (let i = 0; ; i++) {
        try {
          writeFileSync(join(mount, `filler-${size}-${i}`), new Uint8Array(size));
        } catch {
          rmSync(join(mount, `filler-${size}-${i}`), { force: true });
          break;
        }
      }
    }
  }
  function free(mount: string): void {
    for (const name of readdirSync(mount)) if (name.startsWith("filler")) rmSync(join(mount, name));
  }

  test("an append fails as full and changes nothing; acks work; after room was made it goes on", async () => {
    await onSmallDisk(async (mount) => {
      const cache = new FsWriteCache(join(mount, "cache"));
      await cache.load();
      await append(cache, 0, 1);
      await append(cache, 1, 2);
      fill(mount);
      const names = readdirSync(join(mount, "cache"));
      await expect(append(cache, 2, 3)).rejects.toMatchObject({ code: "SLUICE_CACHE", full: true });
      await expect((async () => cache.savePosition(record(2, { fingerprint: "x" })))()).rejects.toMatchObject(
        {
          full: true,
        },
      );
      expect(readdirSync(join(mount, "cache"))).toEqual(names);
      expect((await loadReal(join(mount, "cache"))).state).toEqual({
        position: record(2),
        entries: cache.entries(),
      });
      // The last carries the newest record, and a new file would find no room if the first had not left.
      await cache.ack(entryOf(0, 1));
      fill(mount);
      await cache.ack(entryOf(1, 2));
      expect((await loadReal(join(mount, "cache"))).state).toEqual({ position: record(2), entries: [] });
      free(mount);
      await append(cache, 2, 3);
      expect((await loadReal(join(mount, "cache"))).state).toEqual({
        position: record(3),
        entries: [entryOf(2, 3)],
      });
      await cache.close();
    });
  });

  test("the mark for resync is made, survives, lets the backlog go, and leaves with the next record", async () => {
    await onSmallDisk(async (mount) => {
      const directory = join(mount, "cache");
      const cache = new FsWriteCache(directory);
      await cache.load();
      for (let txid = 0; txid < 3; txid++) await append(cache, txid, txid + 1);
      fill(mount);
      cache.markResync("why");
      expect(cache.entries()).toHaveLength(3);
      const marked = record(3, { resync: "why" });
      expect((await loadReal(directory)).state).toEqual({ position: marked, entries: three });
      await cache.dropBacklog();
      expect((await loadReal(directory)).state).toEqual({ position: marked, entries: [entryOf(0, 1)] });
      fill(mount);
      await expect(append(cache, 1, 9)).rejects.toMatchObject({ full: true });
      expect((await loadReal(directory)).state).toEqual({ position: marked, entries: [entryOf(0, 1)] });
      await cache.ack(entryOf(0, 1));
      expect((await loadReal(directory)).state).toEqual({ position: marked, entries: [] });
      free(mount);
      await append(cache, 1, 9);
      expect((await loadReal(directory)).state).toEqual({ position: record(9), entries: [entryOf(1, 9)] });
      await cache.close();
    });
  });
});
