import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect } from "vitest";
import { MemoryStore, SqliteReplicator } from "../../node/index.ts";
import { lineageKey } from "../../src/format/keys.ts";
import type { GetOptions, GetResult, ListOptions, ObjectInfo } from "../../src/store/object-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { createQuietly } from "../replicator/history-fixture.ts";
import { type Forgery, forge, forgery } from "./forge.ts";
import { fuzz, typed } from "./fuzz.ts";
import { byteEdits, editBytes, editJson, jsonEdits, oddValue } from "./mutate.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-fuzz-"));
const target = join(folder, "target");
const dbPath = join(target, "restored.db");
const OLD = "what was there before";
let replica: ReadonlyMap<string, Uint8Array>;
let content: Buffer;

beforeAll(async () => {
  const store = new MemoryStore();
  const path = join(folder, "live.db");
  const replicator = await createQuietly({ dbPath: path, replica: store });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  await replicator.flush();
  await replicator.snapshot();
  for (let i = 0; i < 4; i++) {
    db.exec("INSERT INTO t(b) VALUES(randomblob(3000)), (randomblob(3000))");
    await replicator.flush();
    if (i === 1) await replicator.snapshot();
  }
  db.close();
  await replicator.stop();
  content = readFileSync(path);
  const objects = new Map<string, Uint8Array>();
  for await (const { key } of store.list(""))
    objects.set(key, await collect((await store.get(key)).body, 1 << 20));
  replica = objects;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What is wrong with the replica, or with what the store says of it. */
interface Spoiled {
  readonly forged: readonly { readonly at: number; readonly changes: Forgery }[];
  readonly changed: readonly { readonly at: number; readonly edits: Parameters<typeof editBytes>[1] }[];
  readonly claim: Parameters<typeof editJson>[1];
  readonly removed: readonly number[];
  readonly moved: readonly { readonly at: number; readonly to: string }[];
  /** Bytes that a listing has too many or too few, and bodies. */
  readonly listed: number;
  readonly sent: number;
  readonly dates: unknown;
}

const txid = fc
  .oneof(fc.nat(9), fc.constantFrom(2 ** 53 - 1, 2 ** 53))
  .map((n) => n.toString(16).padStart(16, "0"));
const someKey = fc.oneof(
  txid.map((n) => `snapshots/${n}.sqlite.zst`),
  txid.map((n) => `wal/0/${n}.wal.zst`),
  fc.tuple(fc.constantFrom(1, 3, 4), txid, txid).map(([level, a, b]) => `wal/${level}/${a}-${b}.wal.zst`),
  fc.constantFrom("lineage.json", "metadata.json", "notes.txt", "wal/0/../../x"),
);
const seldom = <T>(arbitrary: fc.Arbitrary<T>, otherwise: T) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(otherwise) }, { weight: 1, arbitrary });
const spoiled: fc.Arbitrary<Spoiled> = fc.record({
  forged: fc.array(fc.record({ at: fc.nat(20), changes: forgery }), { maxLength: 1 }),
  changed: fc.array(fc.record({ at: fc.nat(20), edits: byteEdits }), { maxLength: 1 }),
  claim: seldom(jsonEdits, []),
  removed: seldom(fc.array(fc.nat(20), { maxLength: 3 }), []),
  moved: seldom(fc.array(fc.record({ at: fc.nat(20), to: someKey }), { maxLength: 2 }), []),
  listed: seldom(fc.integer({ min: -1000, max: 1000 }), 0),
  sent: seldom(fc.integer({ min: -300, max: 300 }), 0),
  dates: seldom(oddValue, 0),
});

/** A store that holds what it holds, and lies about it. */
class LyingStore extends MemoryStore {
  readonly #spoiled: Spoiled;

  constructor(spoiled: Spoiled) {
    super();
    this.#spoiled = spoiled;
  }

  override async get(key: string, options?: GetOptions): Promise<GetResult> {
    const { body, ...result } = await super.get(key, options);
    const { sent } = this.#spoiled;
    const bytes = await collect(body, 1 << 22);
    async function* lying() {
      yield sent < 0 ? bytes.subarray(0, sent) : bytes;
      if (sent > 0) yield new Uint8Array(sent);
    }
    return { ...result, body: lying() };
  }

  override async *list(prefix: string, options?: ListOptions): AsyncGenerator<ObjectInfo> {
    const { listed, dates } = this.#spoiled;
    for await (const info of super.list(prefix, options)) {
      const size = Math.max(0, info.size + listed);
      yield dates === 0 ? { ...info, size } : { ...info, size, lastModified: dates as number };
    }
  }
}

async function spoil(spoiled: Spoiled): Promise<LyingStore> {
  const objects = new Map(replica);
  const keys = [...replica.keys()];
  const keyAt = (at: number) => keys[at % keys.length]!;
  for (const { at, changes } of spoiled.forged) {
    const key = keyAt(at);
    if (key.endsWith(".zst")) objects.set(key, forge(replica.get(key)!, changes));
  }
  for (const { at, edits } of spoiled.changed)
    objects.set(keyAt(at), editBytes(objects.get(keyAt(at))!, edits));
  if (spoiled.claim.length > 0) {
    const claim = editJson(JSON.parse(Buffer.from(replica.get(lineageKey)!).toString()), spoiled.claim);
    objects.set(lineageKey, Buffer.from(JSON.stringify(claim)));
  }
  for (const { at, to } of spoiled.moved) if (!to.includes("..")) objects.set(to, objects.get(keyAt(at))!);
  for (const at of spoiled.removed) objects.delete(keyAt(at));
  const store = new LyingStore(spoiled);
  for (const [key, bytes] of objects) await store.put(key, bytes);
  return store;
}

fuzz(
  "a replica that is spoiled restores to what was written, or not at all, and touches nothing else",
  120,
  fc.tuple(spoiled, fc.boolean()),
  async ([wrong, overwrite]) => {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target);
    if (overwrite) writeFileSync(dbPath, content);
    writeFileSync(join(target, "neighbour"), OLD);
    const store = await spoil(wrong);
    const replicator = await SqliteReplicator.create({ dbPath, replica: store });
    try {
      const outcome = await typed(() => replicator.restore({ overwrite }));
      const restored = outcome?.restored === true;
      // The lock makes an empty file.
      if (!restored) expect(readFileSync(dbPath).equals(overwrite ? content : Buffer.alloc(0))).toBe(true);
    } finally {
      await replicator.stop();
    }
    const expected = ["neighbour", "restored.db", "restored.db-sluice"];
    expect(readdirSync(target).filter((name) => !expected.includes(name))).toEqual([]);
    expect(readFileSync(join(target, "neighbour"), "utf8")).toBe(OLD);
  },
);
