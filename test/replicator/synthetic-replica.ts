/** Replicas made of small pages without SQLite, of any mixture of levels, whose states the test knows. */
import { expect } from "vitest";
import { MemoryStore, type ObjectStore } from "../../node/index.ts";
import type { RestorePoint } from "../../src/choose-plan.ts";
import { genesisPosition } from "../../src/format/genesis.ts";
import type { ObjectHeader } from "../../src/format/header.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import type { ObjectReader } from "../../src/format/object-reader.ts";
import type { Position } from "../../src/format/position.ts";
import { mergeSegments } from "../../src/merge.ts";
import type { OldDatabase } from "../../src/page-writer.ts";
import type { DatabaseTarget } from "../../src/platform.ts";
import { openStored } from "../../src/replica.ts";
import { type WrittenState, writeState } from "../../src/write-state.ts";
import { codecs, encodeObject, lineage, writer } from "../format/objects.ts";

export const PAGE_SIZE = 512;
/** Of the first commit. */
export const BEGIN_MS = 1_700_000_000_000;

/** A state of the database: its pages one after the other. */
export interface State {
  readonly position: Position;
  readonly time: number;
  readonly content: Uint8Array;
}

/** What one segment changes: pages by number, and the page count behind it. */
export interface Change {
  readonly pages: ReadonlyMap<number, Uint8Array>;
  readonly pageCount: number;
  /** Transactions that it stands for. */
  readonly txids: number;
  /** From the state before. */
  readonly ms: number;
}

export interface Segment {
  readonly key: string;
  readonly level: number;
  readonly from: number;
  readonly to: number;
}

export class SyntheticReplica {
  readonly store = new MemoryStore();
  /** In the order of history; the first is the beginning. */
  readonly states: State[];
  /** By where they begin and end. */
  readonly segments: Segment[] = [];
  readonly snapshots: number[] = [];

  constructor(pageCount = 2) {
    const content = new Uint8Array(pageCount * PAGE_SIZE).fill(1);
    content.set([PAGE_SIZE >> 8, PAGE_SIZE & 255], 16);
    this.states = [{ position: genesisPosition(lineage, codecs), time: BEGIN_MS, content }];
  }

  get last(): State {
    return this.states.at(-1)!;
  }

  stateAt(txid: number): State {
    return this.states.find(({ position }) => position.txid === txid)!;
  }

  async append({ pages, pageCount, txids, ms }: Change): Promise<Segment> {
    const { position: from, time: before, content: old } = this.last;
    const content = new Uint8Array(pageCount * PAGE_SIZE);
    content.set(old.subarray(0, content.length));
    const changed = new Map([...pages].filter(([pgno]) => pgno <= pageCount));
    for (let pgno = old.length / PAGE_SIZE + 1; pgno <= pageCount; pgno++)
      if (!changed.has(pgno)) changed.set(pgno, new Uint8Array(PAGE_SIZE));
    if (changed.size === 0) changed.set(1, content.slice(0, PAGE_SIZE));
    for (const [pgno, page] of changed) content.set(page, (pgno - 1) * PAGE_SIZE);
    const time = before + ms;
    const txid = from.txid + txids;
    const ascending = new Map([...changed].sort(([a], [b]) => a - b));
    const header: ObjectHeader = {
      ...this.#common(pageCount, time),
      kind: "segment",
      from,
      to: { txid, id: null },
    };
    const { bytes, id } = encodeObject(header, ascending);
    this.states.push({ position: { txid, id }, time, content });
    return this.#put({ key: segmentKey(0, from.txid + 1, txid), level: 0, from: from.txid, to: txid }, bytes);
  }

  async snapshot(txid: number): Promise<void> {
    const { position, time, content } = this.stateAt(txid);
    const pageCount = content.length / PAGE_SIZE;
    const header: ObjectHeader = {
      ...this.#common(pageCount, time),
      kind: "snapshot",
      from: null,
      to: position,
    };
    const pages = new Map<number, Uint8Array>();
    for (let i = 0; i < pageCount; i++)
      pages.set(i + 1, content.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE));
    await this.store.put(snapshotKey(txid), encodeObject(header, pages).bytes);
    this.snapshots.push(txid);
  }

  /** Merges neighbours, which stay. */
  async merge(level: number, parts: readonly Segment[]): Promise<Segment> {
    const readers = await Promise.all(
      parts.map(async ({ key }) => openStored(this.store, await infoOf(this.store, key), codecs)),
    );
    const [first, last] = [readers[0]!, readers.at(-1)!];
    const header: ObjectHeader = {
      ...last.header,
      from: first.from,
      to: last.to,
      commits: { first: first.header.commits.first, last: last.header.commits.last },
    };
    const chunks: Uint8Array[] = [];
    for await (const chunk of mergeSegments(readers, header, codecs)) chunks.push(chunk);
    const [from, to] = [first.from!.txid, last.to.txid];
    return this.#put({ key: segmentKey(level, from + 1, to), level, from, to }, Buffer.concat(chunks));
  }

  /** The same pages, between the same positions, by another writer. */
  async encodeAgain(reader: ObjectReader): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    const header = { ...reader.header, writer: lineage };
    for await (const chunk of mergeSegments([reader], header, codecs)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  async remove(segment: Segment): Promise<void> {
    await this.store.delete([segment.key]);
    this.segments.splice(this.segments.indexOf(segment), 1);
  }

  async removeSnapshot(txid: number): Promise<void> {
    await this.store.delete([snapshotKey(txid)]);
    this.snapshots.splice(this.snapshots.indexOf(txid), 1);
  }

  async #put(segment: Segment, bytes: Uint8Array): Promise<Segment> {
    await this.store.put(segment.key, bytes);
    this.segments.push(segment);
    return segment;
  }

  #common(pageCount: number, time: number) {
    const commits = { first: time, last: time };
    return {
      format: 1 as const,
      features: [],
      lineage,
      pageSize: PAGE_SIZE,
      pageCount,
      writer,
      created: time,
      commits,
    };
  }
}

export async function infoOf(store: ObjectStore, key: string) {
  for await (const info of store.list(key)) if (info.key === key) return info;
  throw new Error(`no ${key}`);
}

/** Pages in memory, each written at most once. */
export class MemoryTarget implements DatabaseTarget {
  readonly path = "";
  readonly old: OldDatabase | null;
  aborted = false;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(old: Uint8Array | null = null) {
    this.old = old && {
      size: old.length,
      read: async (into, offset) => into.set(old.subarray(offset, offset + into.length)),
    };
  }

  write(bytes: Uint8Array, offset: number): undefined {
    for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
      const pgno = (offset + at) / PAGE_SIZE + 1;
      expect(this.#pages.has(pgno), `page ${pgno} is written twice`).toBe(false);
      this.#pages.set(pgno, bytes.slice(at, at + PAGE_SIZE));
    }
  }

  content(pageCount: number): Uint8Array {
    expect(Math.max(...this.#pages.keys())).toBe(pageCount);
    const content = new Uint8Array(pageCount * PAGE_SIZE);
    for (const [pgno, page] of this.#pages) content.set(page, (pgno - 1) * PAGE_SIZE);
    return content;
  }

  async finish(): Promise<void> {}

  async abort(): Promise<void> {
    this.aborted = true;
  }
}

export interface Restored extends WrittenState {
  readonly content: Uint8Array;
}

/** Throws what a restore would. `old`: what is replaced. */
export async function restoreState(
  store: ObjectStore,
  point: RestorePoint,
  old: Uint8Array | null = null,
): Promise<Restored> {
  const written = await writeState(
    { store, lineage, codecs },
    point,
    () => new MemoryTarget(old),
    () => {},
  );
  const target = written!.target as MemoryTarget;
  expect(target.aborted).toBe(false);
  return { ...written!, content: target.content(written!.state.pageCount) };
}
