import type { Codecs } from "../../src/format/codecs.ts";
import { ObjectEncoder } from "../../src/format/encode.ts";
import { genesisPosition } from "../../src/format/genesis.ts";
import type { ObjectHeader } from "../../src/format/header.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import type { Position } from "../../src/format/position.ts";
import { HousekeepingTask } from "../../src/housekeeping-task.ts";
import { Random } from "../replicator/random.ts";
import { CountingStore, type Requests } from "./counting-store.ts";

/** What an application writes in a day, as it reaches the store. */
export interface Pattern {
  readonly name: string;
  /** Bytes. */
  readonly pageSize: number;
  /** Pages of the database, at the end of the day and at its beginning. */
  readonly pages: number;
  readonly pagesAtFirst: number;
  /** Seconds from one upload to the next, and how many there are at the most. */
  readonly everySecs: number;
  readonly uploads: number;
  /** With what chance nothing is written for a while after an upload, and for how long on average. */
  readonly pauses?: { readonly chance: number; readonly meanSecs: number };
  /** The pages that the commits of one upload change: of an index, at random, and of a table, one after the other. */
  readonly perUpload: { readonly index: number; readonly indexPages: number; readonly appended: number };
  readonly snapshotEverySecs: number;
}

export interface DayReport {
  readonly uploads: number;
  readonly requests: Requests;
  readonly bytesRead: number;
  readonly level0: number;
  readonly higher: number;
  readonly snapshots: number;
  readonly snapshotCount: number;
}

const LINEAGE = "0".repeat(32);
const DAY_MS = 24 * 3600 * 1000;
/** So that all of it is one day. */
const MIDNIGHT = 20_000 * DAY_MS;

/** Writes a day of a pattern, with the writer's own housekeeping, on a clock that jumps from upload to upload. */
export async function simulateDay(pattern: Pattern, codecs: Codecs, seed = 1): Promise<DayReport> {
  const day = new Day(pattern, codecs, seed);
  await day.snapshot();
  const seconds = pattern.uploads * pattern.everySecs;
  while (day.seconds < seconds) await day.upload();
  return day.report();
}

class Day {
  readonly #pattern: Pattern;
  readonly #codecs: Codecs;
  readonly #random: Random;
  readonly #store: CountingStore;
  readonly #tasks: HousekeepingTask;
  #time = MIDNIGHT;
  #position: Position;
  #appendedTo = 0;
  #pageCount: number;
  #snapshotAt = 0;

  constructor(pattern: Pattern, codecs: Codecs, seed: number) {
    const clock = {
      now: () => this.#time,
      stopwatch: () => {
        const began = this.#time;
        return () => this.#time - began;
      },
      after: () => ({ cancel: () => undefined }),
      turn: async () => undefined,
    };
    this.#pattern = pattern;
    this.#pageCount = pattern.pagesAtFirst;
    this.#codecs = codecs;
    this.#random = new Random(seed);
    this.#store = new CountingStore({ now: clock.now });
    this.#position = genesisPosition(LINEAGE, codecs);
    this.#tasks = new HousekeepingTask({
      platform: { codecs, clock },
      store: this.#store,
      lineage: LINEAGE,
      compaction: true,
      retention: { retentionMs: 7 * DAY_MS, fineRetentionMs: DAY_MS },
      signal: new AbortController().signal,
      paused: () => false,
      pinned: () => [],
      onFailed: (error) => {
        throw error;
      },
      onBroken: async (damage) => {
        throw damage;
      },
    });
  }

  /** How much of the day is over. */
  get seconds(): number {
    return (this.#time - MIDNIGHT) / 1000;
  }

  async upload(): Promise<void> {
    const { everySecs, snapshotEverySecs } = this.#pattern;
    this.#time += everySecs * 1000 + this.#pauseMs();
    const from = this.#position;
    const to = from.txid + 1;
    const changed = this.#changed();
    this.#pageCount = Math.max(this.#pageCount, changed.at(-1)!);
    const header = this.#header("segment", from, { txid: to, id: null });
    const { bytes, id } = this.#encode(header, changed);
    const key = segmentKey(0, from.txid + 1, to);
    await this.#store.put(key, bytes, { ifNoneMatch: "*" });
    this.#position = { txid: to, id };
    this.#tasks.uploaded(from, { key, size: bytes.length });
    if (snapshotEverySecs > 0 && this.#time - this.#snapshotAt >= snapshotEverySecs * 1000)
      await this.snapshot();
    await this.#tend();
  }

  async snapshot(): Promise<void> {
    this.#snapshotAt = this.#time;
    const pgnos = Array.from({ length: this.#pageCount }, (_, i) => i + 1);
    const { bytes } = this.#encode(this.#header("snapshot", null, this.#position), pgnos);
    await this.#store.putStream(snapshotKey(this.#position.txid), pieces(bytes));
    await this.#store.put("metadata.json", new Uint8Array(300));
    this.#tasks.snapshotTaken();
    await this.#tend();
  }

  async #tend(): Promise<void> {
    if (this.#tasks.due() !== null) await this.#tasks.run();
  }

  /** Of exponential length: long ones now and then. */
  #pauseMs(): number {
    const { chance, meanSecs } = this.#pattern.pauses ?? { chance: 0, meanSecs: 0 };
    if (!this.#random.chance(chance)) return 0;
    return Math.round(-Math.log(1 - this.#random.below(1000) / 1000) * meanSecs * 1000);
  }

  /** Pages of an index with random keys, and the ends of a table that is appended to. */
  #changed(): number[] {
    const { pages, perUpload } = this.#pattern;
    const { index, indexPages, appended } = perUpload;
    const changed = new Set<number>();
    for (let i = 0; i < index; i++) changed.add(1 + this.#random.below(indexPages));
    this.#appendedTo += appended;
    const first = indexPages + 1;
    for (let i = 0; i <= appended; i++)
      changed.add(first + (Math.floor(this.#appendedTo - appended + i) % (pages - indexPages)));
    return [...changed].sort((a, b) => a - b);
  }

  #encode(header: ObjectHeader, pgnos: readonly number[]): { bytes: Uint8Array; id: string } {
    const encoder = new ObjectEncoder(header, this.#codecs, 1);
    const chunks = [encoder.start()];
    for (const pgno of pgnos) {
      const chunk = encoder.page(pgno, this.#page());
      if (chunk !== undefined) chunks.push(chunk);
    }
    const { chunk, id } = encoder.finish();
    return { bytes: new Uint8Array(Buffer.concat([...chunks, chunk])), id };
  }

  /** A third of it does not compress. */
  #page(): Uint8Array {
    const page = new Uint8Array(this.#pattern.pageSize);
    page.set(this.#random.bytes(Math.ceil(page.length / 3)));
    return page;
  }

  #header(kind: ObjectHeader["kind"], from: Position | null, to: ObjectHeader["to"]): ObjectHeader {
    const { pageSize } = this.#pattern;
    const pageCount = this.#pageCount;
    const commits = { first: this.#time, last: this.#time };
    const common = { format: 1, features: [], lineage: LINEAGE, pageSize, pageCount } as const;
    return { ...common, kind, from, to, writer: LINEAGE, created: this.#time, commits };
  }

  async report(): Promise<DayReport> {
    const { requests, bytesRead } = this.#store;
    const level0 = (await this.#store.stored("wal/0/")).bytes;
    const higher = (await this.#store.stored("wal/")).bytes - level0;
    const snapshots = await this.#store.stored("snapshots/");
    return {
      uploads: this.#position.txid,
      requests,
      bytesRead,
      level0,
      higher,
      snapshots: snapshots.bytes,
      snapshotCount: snapshots.count,
    };
  }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1 << 20) yield bytes.subarray(at, at + (1 << 20));
}
