/** What stands in the files of the write caches, damaged by a disk or written by somebody. */

import * as fs from "node:fs";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect } from "vitest";
import { encodeTail } from "../../node/cache-file.ts";
import { scanCache } from "../../node/cache-scan.ts";
import { loadCodecs } from "../../node/compression.ts";
import { FsWriteCache } from "../../node/write-cache.ts";
import { SideFile } from "../../src/cache/side-file.ts";
import { StagedCache } from "../../src/cache/staged-cache.ts";
import { systemClock } from "../../web/clock.ts";
import { judge, type StoredRecords } from "../../web/idb-records.ts";
import { MemoryCache, MemoryCacheStorage } from "../cache/memory-cache.ts";
import { MemoryDisk, MemoryFile } from "../cache/memory-file.ts";
import { append, entryOf, record } from "../suites/write-cache.ts";
import { fuzz, typed } from "./fuzz.ts";
import { byteEdits, editBytes, editJson, jsonEdits } from "./mutate.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-fuzz-"));
const directory = join(folder, "cache");
let files: ReadonlyMap<string, Uint8Array>;
beforeAll(async () => {
  const cache = new FsWriteCache(directory);
  await cache.load();
  for (let txid = 0; txid < 4; txid++) await append(cache, txid, txid + 1);
  await cache.close();
  files = new Map(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name))]));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A directory with these files, loaded as a start does, by what it comes to. What is refused is left as it was. */
async function load(spoiled: ReadonlyMap<string, Uint8Array>): Promise<void> {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  for (const [name, bytes] of spoiled) writeFileSync(join(directory, name), bytes);
  await typed(() => scanCache(fs, directory));
  const cache = new FsWriteCache(directory);
  const state = await typed(() => cache.load());
  if (state === null) {
    for (const [name, bytes] of spoiled) expect(readFileSync(join(directory, name)).equals(bytes)).toBe(true);
    return;
  }
  for (const entry of state.entries) expect(entry.to.txid).toBeGreaterThan(entry.from.txid);
  await cache.close();
}

const fileName = fc.oneof(
  fc.constantFrom(
    "0000000000000001.entry",
    "0000000000000009.entry",
    "0000000000000002.position",
    "x",
    "1.tmp",
  ),
  fc
    .tuple(fc.nat(9), fc.constantFrom("entry", "position", "permit", "tmp"))
    .map(([n, kind]) => `000000000000000${n}.${kind}`),
);
const at = fc.nat(20);

fuzz(
  "a cache directory with files changed, gone or exchanged",
  100,
  fc.record({
    changed: fc.array(fc.record({ at, edits: byteEdits }), { maxLength: 2 }),
    gone: fc.array(at, { maxLength: 2 }),
    copied: fc.array(fc.record({ at, to: fileName }), { maxLength: 2 }),
  }),
  async ({ changed, gone, copied }) => {
    const spoiled = new Map(files);
    const names = [...files.keys()];
    const nameAt = (at: number) => names[at % names.length]!;
    for (const { at, edits } of changed) spoiled.set(nameAt(at), editBytes(files.get(nameAt(at))!, edits));
    for (const { at, to } of copied) spoiled.set(to, files.get(nameAt(at))!);
    for (const at of gone) spoiled.delete(nameAt(at));
    await load(spoiled);
  },
);

fuzz(
  "a cache file whose checksum is right and whose record is not",
  120,
  fc.record({ at, edits: jsonEdits }),
  async ({ at, edits }) => {
    const names = [...files.keys()].filter((name) => /entry|position/.test(name));
    const name = names[at % names.length]!;
    const bytes = Buffer.from(files.get(name)!);
    const footer = bytes.subarray(-64);
    const objectLength = Number(footer.readBigUInt64LE(32));
    const json = bytes.subarray(objectLength, -64).toString();
    const forged = editJson(JSON.parse(json), edits) as Parameters<typeof encodeTail>[2];
    const tail = encodeTail(objectLength, Number(footer.readBigUInt64LE(40)), forged);
    await load(new Map(files).set(name, Buffer.concat([bytes.subarray(0, objectLength), tail])));
  },
);

const { hash64 } = await loadCodecs();
const steps = await sideFile();

async function sideFile(): Promise<Uint8Array> {
  const disk = new MemoryDisk();
  const side = new SideFile(new MemoryFile(disk), hash64);
  side.load();
  for (let txid = 0; txid < 3; txid++) {
    const writer = side.begin(txid + 1);
    writer.write(new Uint8Array(entryOf(txid, txid + 1).size));
    writer.commit(entryOf(txid, txid + 1), record(txid + 1));
  }
  side.mark({ serial: 3, reason: "why not" });
  return disk.bytes;
}

async function loadStaged(bytes: Uint8Array): Promise<void> {
  const disk = new MemoryDisk();
  disk.bytes = new Uint8Array(bytes);
  const cache = new StagedCache({
    name: "test",
    openSide: () => new SideFile(new MemoryFile(disk), hash64),
    queue: new MemoryCache(new MemoryCacheStorage(), true),
    clock: systemClock,
    isFull: () => false,
    onTrouble: (error) => {
      throw error;
    },
  });
  const state = await typed(() => cache.load());
  if (state !== null) await cache.close();
}

fuzz("a side file with bytes changed", 1000, byteEdits, (edits) => loadStaged(editBytes(steps, edits)));

fuzz(
  "a side file whose hashes are right and whose records are not",
  1000,
  fc.record({ at: fc.nat(3), edits: jsonEdits, serial: fc.option(fc.integer(), { nil: null }) }),
  async ({ at, edits, serial }) => {
    const bytes = new Uint8Array(steps);
    const parts: Uint8Array[] = [bytes.subarray(0, 1024)];
    let step = 0;
    for (let from = 1024; from < bytes.length; ) {
      const length = new DataView(bytes.buffer).getUint32(from + 24, true);
      const block = bytes.slice(from, from + 32 + length);
      const isStep = new DataView(block.buffer).getUint32(12, true) === 3;
      parts.push(isStep && step++ === at ? resealed(block, edits, serial) : block);
      from += 32 + length;
    }
    if (at === 3)
      parts[0] = padded(
        resealed(bytes.slice(0, 32 + new DataView(bytes.buffer).getUint32(24, true)), edits, serial),
      );
    await loadStaged(Buffer.concat(parts));
  },
);

function padded(block: Uint8Array): Uint8Array {
  const whole = new Uint8Array(1024);
  whole.set(block.subarray(0, 1024));
  return whole;
}

/** A block of the side file with another record or serial, and the hash of what it is then. */
function resealed(
  block: Uint8Array,
  edits: Parameters<typeof editJson>[1],
  serial: number | null,
): Uint8Array {
  const json = JSON.parse(new TextDecoder().decode(block.subarray(32)));
  const payload = new TextEncoder().encode(JSON.stringify(editJson(json, edits)) ?? "");
  const forged = new Uint8Array(32 + payload.length);
  forged.set(block.subarray(0, 32));
  forged.set(payload, 32);
  const view = new DataView(forged.buffer);
  if (serial !== null) view.setFloat64(16, serial, true);
  view.setUint32(24, payload.length, true);
  view.setBigUint64(0, hash64(forged.subarray(8)), true);
  return forged;
}

const stored: StoredRecords = {
  position: record(3),
  permitted: true,
  entryKeys: [
    ["entry", 4],
    ["entry", 5],
  ],
  entries: [
    { version: 1, entry: entryOf(1, 2), chunkBytes: 100, hashes: [1n] },
    { version: 1, entry: entryOf(2, 3), chunkBytes: 100, hashes: [1n] },
  ],
  chunkKeys: [
    ["chunk", 4, 0],
    ["chunk", 5, 0],
  ],
};

fuzz(
  "records of IndexedDB that are not what was written",
  1500,
  fc.record({ at: fc.nat(2), edits: jsonEdits }),
  async ({ at, edits }) => {
    const change = (place: number, value: unknown) => (at === place ? editJson(value, edits) : value);
    const changed = {
      ...stored,
      position: change(0, stored.position),
      entries: stored.entries.map((entry, i) => change(i + 1, entry)),
    };
    await typed(() => judge("test", changed as StoredRecords));
  },
);
