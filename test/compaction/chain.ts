import { randomBytes } from "node:crypto";
import { type Claim, claimReplica } from "../../src/claim.ts";
import { genesisPosition } from "../../src/format/genesis.ts";
import type { ObjectHeader } from "../../src/format/header.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { parseKey } from "../../src/format/parse-key.ts";
import type { Position } from "../../src/format/position.ts";
import { collect } from "../../src/store/collect.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { codecs, decodeObject, encodeObject, lineage, writer } from "../format/objects.ts";

const PAGE_SIZE = 512;

/** A clock that tests set, and whose turns are free. */
export class TestClock {
  time = 1_800_000_000_000;
  readonly now = () => this.time;
  stopwatch() {
    const began = this.time;
    return () => this.time - began;
  }
  after(): { cancel(): void } {
    throw new Error("nothing here waits");
  }
  async turn(): Promise<void> {}
}

export function memoryReplica() {
  const clock = new TestClock();
  return { clock, store: new MemoryStore({ now: clock.now }) };
}

/** A history of small pages, written object by object, with every state that it had. */
export class Chain {
  readonly clock: TestClock;
  readonly store: ObjectStore;
  position: Position = genesisPosition(lineage, codecs);
  #pages: Uint8Array[] = [];
  /** What the database was at the end of each segment. */
  readonly states = new Map<number, readonly Uint8Array[]>([[0, []]]);
  /** When each segment was uploaded, by where it ends. */
  readonly times = new Map<number, number>();
  readonly ids = new Map<number, string>([[0, this.position.id]]);
  /** Objects that were found right, by key, size and time: where they begin and end. */
  readonly #verified = new Map<string, { readonly from: Position | null; readonly to: Position }>();

  constructor(store: ObjectStore, clock: TestClock) {
    this.store = store;
    this.clock = clock;
  }

  async claim(): Promise<void> {
    const claim: Claim = { version: 1, lineage, writer, created: this.clock.now() };
    await claimReplica(this.store, claim);
  }

  /** One segment of `commits` transactions that changes some pages and makes the database `pageCount` pages long. */
  async write(changed: readonly number[], pageCount: number, commits = 1): Promise<void> {
    this.clock.time += 1000;
    const pages = new Map<number, Uint8Array>();
    const grown = Array.from({ length: pageCount }, (_, i) => i + 1).slice(this.#pages.length);
    for (const pgno of [...new Set([...changed, ...grown, 1])].sort((a, b) => a - b))
      if (pgno <= pageCount) pages.set(pgno, this.#page());
    const to = this.position.txid + commits;
    const header = this.#header("segment", pageCount, this.position, { txid: to, id: null });
    const { bytes, id } = encodeObject(header, pages);
    await this.store.put(segmentKey(0, this.position.txid + 1, to), bytes, { ifNoneMatch: "*" });
    this.#pages = Array.from({ length: pageCount }, (_, i) => pages.get(i + 1) ?? this.#pages[i]!);
    this.position = { txid: to, id };
    this.states.set(to, this.#pages);
    this.ids.set(to, id);
    this.times.set(to, this.clock.now());
  }

  /** `count` segments, of which some grow the database and some cut it. */
  async writeMany(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const pageCount = 4 + ((this.position.txid * 7) % 9);
      await this.write([2 + (i % 3), 3 + (this.position.txid % 8)], pageCount, 1 + (i % 2));
    }
  }

  /** The first snapshot, before anything was committed: of one empty page. */
  async snapshotOfNothing(): Promise<void> {
    this.#pages = [new Uint8Array(PAGE_SIZE)];
    this.states.set(0, this.#pages);
    await this.snapshot();
  }

  async snapshot(): Promise<void> {
    const pageCount = this.#pages.length;
    const header = this.#header("snapshot", pageCount, null, this.position);
    const { bytes } = encodeObject(header, new Map(this.#pages.map((page, i) => [i + 1, page])));
    await this.store.put(snapshotKey(this.position.txid), bytes);
  }

  /** The ends of all segments that are younger than this and cannot be restored. */
  async missing(maxAgeMs: number): Promise<number[]> {
    const restorable = await this.restorable();
    const since = this.clock.now() - maxAgeMs;
    return [...this.times]
      .filter(([txid, time]) => time > since && !restorable.has(txid))
      .map(([txid]) => txid);
  }

  #page(): Uint8Array {
    const page = new Uint8Array(PAGE_SIZE);
    page.set(randomBytes(16));
    return page;
  }

  #header(
    kind: "snapshot" | "segment",
    pageCount: number,
    from: Position | null,
    to: ObjectHeader["to"],
  ): ObjectHeader {
    const time = this.clock.now();
    const common = { format: 1, features: [], lineage, pageSize: PAGE_SIZE, writer, created: time } as const;
    return { ...common, kind, pageCount, from, to, commits: { first: time, last: time } };
  }

  /**
   * Every transaction that the replica leads to now, by objects each of which was found to turn the state at its beginning
   * into the one at its end, byte for byte.
   */
  async restorable(): Promise<Set<number>> {
    const from = new Map<number, number[]>();
    const found = new Set<number>();
    for await (const { key, size, lastModified } of this.store.list("")) {
      if (parseKey(key)?.kind !== "snapshot" && parseKey(key)?.kind !== "segment") continue;
      const name = `${key} ${size} ${lastModified}`;
      const object = this.#verified.get(name) ?? (await this.#verify(key));
      this.#verified.set(name, object);
      if (object.from === null) found.add(object.to.txid);
      else from.set(object.from.txid, [...(from.get(object.from.txid) ?? []), object.to.txid]);
    }
    for (const txid of found) for (const end of from.get(txid) ?? []) found.add(end);
    return found;
  }

  async #verify(key: string): Promise<{ readonly from: Position | null; readonly to: Position }> {
    const { body } = await this.store.get(key);
    const { object, pages } = await decodeObject(await collect(body, 1 << 24), key);
    const { from, to, pageCount } = object;
    const before = from === null ? [] : this.states.get(from.txid);
    const after = this.states.get(to.txid);
    if (before === undefined || after === undefined) throw new Error(`${key} is not of this history`);
    if (from !== null && from.id !== this.ids.get(from.txid))
      throw new Error(`${key} begins at a wrong position`);
    if (to.id !== this.ids.get(to.txid)) throw new Error(`${key} ends at a wrong position`);
    const result = Array.from({ length: pageCount }, (_, i) => pages.get(i + 1) ?? before[i]);
    const equal =
      after.length === pageCount && after.every((page, i) => Buffer.compare(page, result[i]!) === 0);
    if (!equal) throw new Error(`${key} does not lead to the state that was at ${to.txid}`);
    return { from, to };
  }
}
