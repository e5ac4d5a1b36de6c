import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { type Machine, openThreads } from "../../node/block-threads.ts";
import { LocalDatabaseError, type ObjectStore } from "../../node/index.ts";
import { FileTarget } from "../../node/restore-target.ts";
import type { BlockOrder, BlockThreads } from "../../src/block-threads.ts";
import { openObject } from "../../src/format/decode.ts";
import { snapshotKey } from "../../src/format/keys.ts";
import type { BlockLayout } from "../../src/format/object-reader.ts";
import { writeState } from "../../src/write-state.ts";
import {
  codecs,
  encodeObject,
  lineage,
  memorySource,
  range,
  segmentHeader,
  snapshotHeader,
  somePages,
} from "../format/objects.ts";
import { Random } from "../replicator/random.ts";
import { PAGE_SIZE, SyntheticReplica } from "../replicator/synthetic-replica.ts";
import { freshVfs, isRoot, temporaryFolder } from "./vfs-fixture.ts";

const LARGE = 1 << 30;
const PAGES = 4000;
/** Whatever this machine has. */
const machine: Machine = { processors: 2, resolve: createRequire(import.meta.url).resolve };

/** Otherwise a restore has none, and there is nothing to interrupt. */
const hasThreads = availableParallelism() > 1;

/** Random pages, 63 blocks of them, and segments over all of it; what restores them. */
async function someReplica(segments = 3): Promise<SyntheticReplica> {
  const random = new Random(1);
  const replica = new SyntheticReplica(PAGES);
  const { content } = replica.last;
  content.set(random.bytes(content.length - PAGE_SIZE), PAGE_SIZE);
  await replica.snapshot(0);
  for (let i = 0; i < segments; i++) {
    const pages = new Map([[1, replica.last.content.slice(0, PAGE_SIZE)]]);
    // Runs of pages and single ones.
    for (let pgno = 2 + i; pgno <= PAGES; pgno += pgno % 7 === 0 ? 300 : 1 + (pgno & i))
      pages.set(pgno, random.bytes(PAGE_SIZE).slice());
    await replica.append({ pages, pageCount: PAGES, txids: 1, ms: 1000 });
  }
  return replica;
}

class Threaded extends FileTarget {
  /** Orders, by now, and when the threads were ended. */
  under = 0;
  written = 0;
  underAtEnd = 0;
  change: (threads: BlockThreads) => BlockThreads = (threads) => threads;

  override openThreads(): BlockThreads | null {
    const threads = super.openThreads(LARGE);
    if (threads === null) return null;
    const write = async (order: BlockOrder) => {
      this.under += 1;
      await changed.write(order).finally(() => (this.under -= 1));
      this.written += 1;
    };
    const changed = this.change(threads);
    const end = async () => {
      this.underAtEnd = this.under;
      await changed.end();
    };
    return { ...changed, write, end };
  }
}

interface Run {
  readonly folder: string;
  readonly target: Threaded;
  readonly content: Uint8Array;
}

/** Restores what `store` has with threads, however little it is. */
async function restore(
  store: ObjectStore,
  change: (threads: BlockThreads) => BlockThreads = (threads) => threads,
  folder = temporaryFolder(),
  signal?: AbortSignal,
): Promise<Run> {
  const { sqlite3, vfs } = await freshVfs();
  const path = join(folder, "a.db");
  let target!: Threaded;
  const open = () => {
    target = new Threaded(path, sqlite3, vfs, (rename) => rename());
    target.change = change;
    return target;
  };
  const written = await writeState({ store, lineage, codecs, signal }, "latest", open, () => {}).catch(
    (error: unknown) => {
      expect(target.underAtEnd).toBe(0);
      expect(fs.readdirSync(folder)).toEqual([]);
      throw error;
    },
  );
  expect(target.underAtEnd).toBe(0);
  await target.finish(written!.state.pageCount * PAGE_SIZE);
  return { folder, target, content: fs.readFileSync(path) };
}

test("what threads write is the database, each page as the newest object has it", async () => {
  const replica = await someReplica();
  const { target, content } = await restore(replica.store);
  expect(Buffer.compare(content, replica.last.content)).toBe(0);
  if (hasThreads) expect(target.written).toBeGreaterThan(60);
});

test("a store is lent as much memory as the range that it is asked for", async () => {
  const { store } = await someReplica();
  const get = vi.spyOn(store, "get");
  await restore(store);
  const lent = get.mock.calls.flatMap(([, options]) => (options?.into ? [options] : []));
  for (const { into, range } of lent) expect(into!.length).toBe(range!.length);
  if (hasThreads) expect(lent).not.toEqual([]);
});

test.runIf(hasThreads)("threads that end in the middle leave the rest to the calling one", async () => {
  const replica = await someReplica();
  let left = 10;
  const { content } = await restore(replica.store, (threads) => ({
    ...threads,
    async write(order) {
      if (left-- === 0) void threads.end();
      return threads.write(order);
    },
  }));
  expect(left).toBeLessThan(0);
  expect(Buffer.compare(content, replica.last.content)).toBe(0);
});

test.each<[string, Partial<Machine>]>([
  ["little", {}],
  ["a single processor", { processors: 1 }],
  [
    "libraries in a bundle",
    {
      resolve: () => {
        throw new Error("MODULE_NOT_FOUND");
      },
    },
  ],
])("there are no threads for %s", (what, change) => {
  expect(openThreads(what === "little" ? 1 << 20 : LARGE, 1, () => {}, { ...machine, ...change })).toBeNull();
});

test("threads that do not come up, or cannot write, leave all to the calling one", async () => {
  const replica = await someReplica();
  const readOnly = fs.openSync("/dev/null", "r");
  onTestFinished(() => fs.closeSync(readOnly));
  const broken = [
    openThreads(LARGE, readOnly, () => {}, machine)!,
    openThreads(LARGE, readOnly, () => {}, { ...machine, resolve: (library) => `/nowhere/${library}` })!,
  ];
  for (const threads of broken) {
    onTestFinished(() => threads.end());
    const { content, target } = await restore(replica.store, () => threads);
    expect(target.written).toBe(0);
    expect(Buffer.compare(content, replica.last.content)).toBe(0);
  }
});

/** Threads on a file of zeros, and what they make of an order. */
async function withThreads(): Promise<{ threads: BlockThreads; file: () => Buffer }> {
  const path = join(temporaryFolder(), "file");
  const fd = fs.openSync(path, "wx+");
  const threads = openThreads(LARGE, fd, () => {}, machine)!;
  onTestFinished(async () => {
    await threads.end();
    fs.closeSync(fd);
  });
  return { threads, file: () => fs.readFileSync(path) };
}

test.each([
  ["snapshot", snapshotHeader(4096, 130)],
  ["segment", segmentHeader(4096, 130)],
])("a block of a %s is written only if all of it is as ordered", async (_, header) => {
  const { threads, file } = await withThreads();
  const pages = somePages(4096, range(1, 130));
  const { bytes } = encodeObject(header, pages);
  const object = await openObject(memorySource(bytes), codecs);
  const expected = new Uint8Array(130 * 4096);
  for (const [pgno, page] of pages) expected.set(page, (pgno - 1) * 4096);
  const orderOf = (b: number): BlockOrder => {
    const { offset, length } = object.blockRange(b);
    const layout = object.layoutOf(b);
    const runs = [{ j: 0, count: layout.count, pgno: layout.firstEntry + 1 }];
    return { frame: bytes.subarray(offset, offset + length), layout, runs };
  };
  const order = orderOf(0);
  const { layout } = order;
  const flipped = <T extends "prefix" | "heads">(field: T, at: number) => {
    const changed = layout[field].slice();
    changed[at]! ^= 1;
    return { [field]: changed };
  };
  const hashes = layout.hashes.slice();
  hashes[layout.count - 1]! ^= 1n;
  const others: Partial<BlockLayout>[] = [{ hashes }, { rawLength: layout.rawLength - 1 }];
  if (header.kind === "segment")
    others.push(
      flipped("prefix", 31),
      flipped("prefix", 0),
      flipped("heads", 0),
      flipped("heads", layout.heads.length - 1),
    );
  for (const other of others)
    await expect(threads.write({ ...order, layout: { ...layout, ...other } })).rejects.toThrow();
  await expect(threads.write({ ...order, frame: order.frame.subarray(0, -20) })).rejects.toThrow();
  const damaged = order.frame.slice();
  damaged.fill(255, 20, 60);
  await expect(threads.write({ ...order, frame: damaged })).rejects.toThrow();
  expect(file().length).toBe(0);
  // And what comes behind all these is unpacked as ever.
  for (let b = object.blockCount - 1; b >= 0; b--) await threads.write(orderOf(b));
  expect(Buffer.compare(file(), expected)).toBe(0);
});

test("memory is lent again only when it was given back", async () => {
  const { threads } = await withThreads();
  const lent = await Promise.all(Array.from({ length: 5 }, () => threads.lend()));
  expect(new Set(lent.map(({ buffer }) => buffer)).size).toBe(5);
  const waiting = [threads.lend(), threads.lend()];
  threads.giveBack(lent[3]!.subarray(100, 200));
  const again = await waiting[0]!;
  expect(again.buffer).toBe(lent[3]!.buffer);
  expect(again.length).toBe(lent[3]!.length);
  threads.giveBack(lent[0]!);
  expect((await waiting[1]!).buffer).toBe(lent[0]!.buffer);
});

test.each([
  ["in the middle", () => snapshotKey(0), 0.5],
  ["that holds page 1", (replica: SyntheticReplica) => replica.segments.at(-1)!.key, 0.05],
] as const)("a damaged block %s is the object's fault, and nothing stays", async (_, keyOf, part) => {
  const replica = await someReplica();
  const key = keyOf(replica);
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await replica.store.get(key)).body) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  bytes[Math.floor(bytes.length * part)]! ^= 1;
  await replica.store.put(key, bytes);
  await expect(restore(replica.store)).rejects.toMatchObject({ name: "CorruptObjectError", key });
});

test.runIf(isRoot)("a disk that is full is told as such, and nothing stays", async () => {
  const folder = temporaryFolder();
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
  onTestFinished(() => void execFileSync("umount", [folder]));
  const { store } = await someReplica();
  await expect(restore(store, undefined, folder)).rejects.toBeInstanceOf(LocalDatabaseError);
});

test.runIf(hasThreads)("an interrupted restore ends when the threads' writes have ended", async () => {
  const { store } = await someReplica();
  const interruption = new AbortController();
  const change = (threads: BlockThreads): BlockThreads => ({
    ...threads,
    async write(order) {
      interruption.abort(new Error("interrupted"));
      await threads.write(order);
      for (let turn = 0; turn < 20; turn++) await setImmediate();
    },
  });
  await expect(restore(store, change, undefined, interruption.signal)).rejects.toThrow("interrupted");
});

test("what threads wrote before an object went away stays, and is not written again", async () => {
  const replica = await someReplica(6);
  const [first, second, ...rest] = replica.segments;
  let merged = false;
  const change = (threads: BlockThreads): BlockThreads => ({
    ...threads,
    async write(order) {
      if (!merged) {
        merged = true;
        await replica.merge(1, [first!, second!]);
        await replica.remove(first!);
        await replica.remove(second!);
      }
      return threads.write(order);
    },
  });
  const { content } = await restore(replica.store, change);
  expect(rest.length).toBe(4);
  expect(Buffer.compare(content, replica.last.content)).toBe(0);
});
