import type { Retention } from "../../src/config.ts";
import type { Codecs } from "../../src/format/codecs.ts";
import { openObject } from "../../src/format/decode.ts";
import type { ObjectReader } from "../../src/format/object-reader.ts";
import { parseKey } from "../../src/format/parse-key.ts";
import { type Position, samePosition } from "../../src/format/position.ts";
import type { Random } from "../replicator/random.ts";
import { Holdings } from "./holdings.ts";
import { describeDifference, isDatabaseOf, type State, sameState } from "./state.ts";
import type { World } from "./world.ts";

/**
 * The reference model of the replica: the one chain of positions, and the state at each. Every object that lands is opened
 * and compared: what it leads from, with its pages, must be what it leads to.
 */
export class Chain {
  readonly #world: World;
  readonly #codecs: Codecs;
  readonly #states = new Map<string, State>();
  readonly #writers = new Map<string, string>();
  readonly #ids = new Map<string, string>();
  #tail: Position | null = null;
  /** Positions that objects of the store lead to. */
  readonly #stored = new Map<number, Position>();
  /** When the first snapshot landed. */
  restorableSince = Number.POSITIVE_INFINITY;

  /** What of it can be restored, and what must be. */
  readonly holdings: Holdings;

  constructor(world: World, codecs: Codecs, retention: Retention) {
    this.#world = world;
    this.#codecs = codecs;
    this.holdings = new Holdings(world, retention);
  }

  /** Where the chain in the store ends; null where it holds none. */
  get tail(): Position | null {
    return this.#tail;
  }

  knows(position: Position): boolean {
    return this.#states.has(nameOf(position));
  }

  stateOf(position: Position): State {
    const state = this.#states.get(nameOf(position));
    this.#world.require(state, `nobody knows position ${nameOf(position)}`);
    return state!;
  }

  /** Whether the store has led to this state, at transaction `least` or later. */
  holds(state: State, least: number): boolean {
    return [...this.#stored.values()].some(
      (position) => position.txid >= least && sameState(state, this.stateOf(position)),
    );
  }

  /** The state at a transaction that objects of the store lead to. */
  stateAt(txid: number): State {
    const position = this.#stored.get(txid);
    this.#world.require(position, `nothing in the store leads to transaction ${txid}`);
    return this.stateOf(position!);
  }

  /** The store loses some of its newest objects. Returns their keys. */
  loseEnd(random: Random): readonly string[] {
    const { keys, end } = this.holdings.loseEnd(random);
    if (keys.length === 0) return keys;
    this.#tail = this.#stored.get(end)!;
    for (const txid of [...this.#stored.keys()]) if (txid > end) this.#stored.delete(txid);
    for (const key of keys) this.#ids.delete(key);
    return keys;
  }

  /** A writer has cached this position, or begun at it, and its database was this. */
  define(position: Position, state: State): void {
    const before = this.#states.get(nameOf(position));
    if (before === undefined) this.#states.set(nameOf(position), state);
    else
      this.#world.require(
        sameState(before, state),
        () => `position ${nameOf(position)} is two states: ${describeDifference(before, state)}`,
      );
  }

  wrote(writer: string, machine: string): void {
    this.#writers.set(writer, machine);
  }

  get restorable(): boolean {
    return this.restorableSince <= this.#world.time;
  }

  /** An object was stored under a key. */
  async landed(key: string, bytes: Uint8Array): Promise<void> {
    const parsed = parseKey(key);
    if (parsed?.kind !== "segment" && parsed?.kind !== "snapshot") return;
    const source = {
      key,
      size: bytes.length,
      read: async (offset: number, length: number) => bytes.slice(offset, offset + length),
    };
    const object = await openObject(source, this.#codecs);
    const { to, from, header } = object;
    const writer = this.#writers.get(header.writer);
    const world = this.#world;
    world.require(writer !== undefined, `${key} was made by nobody`);
    world.note(`${key} leads from ${from && nameOf(from)} to ${nameOf(to)}, by ${writer}`);
    const once = this.#ids.get(key);
    if (parsed.kind === "segment")
      world.require(once === undefined || once === object.id, `${key} was replaced by another object`);
    this.#ids.set(key, object.id);
    const level = parsed.kind === "snapshot" ? null : parsed.level;
    this.holdings.landed(key, { level, from: from?.txid ?? null, to: to.txid });
    if (once === object.id) return;
    await this.#compare(object, bytes);
    if (parsed.kind === "snapshot") {
      this.restorableSince = Math.min(this.restorableSince, world.time);
      const known = to.txid === 0 || (this.#tail !== null && to.txid <= this.#tail.txid);
      world.require(known, `${key} was published before what leads to it`);
      this.#store(to);
      return;
    }
    if (parsed.level > 0) {
      const known = this.#stored.get(to.txid);
      world.require(known && samePosition(known, to), `${key} leads beside the chain`);
      return;
    }
    const end = this.#tail ?? { txid: 0, id: from!.id };
    world.require(
      samePosition(from!, end),
      `${key} continues ${nameOf(from!)}, the chain ends at ${nameOf(end)}`,
    );
    this.#store(to);
  }

  #store(to: Position): void {
    const there = this.#stored.get(to.txid);
    this.#world.require(there === undefined || samePosition(there, to), `the chain forks at ${to.txid}`);
    this.#stored.set(to.txid, to);
    if (this.#tail === null || to.txid > this.#tail.txid) this.#tail = to;
  }

  async #compare(object: ObjectReader, bytes: Uint8Array): Promise<void> {
    const { from, to, pageCount, pageSize } = object;
    // A process that ended as it began may have told nobody what it began with: then all pages are to be there.
    const bare = from === null || (from.txid === 0 && !this.knows(from));
    const before = bare ? [] : this.stateOf(from).pages;
    const pages = Array.from({ length: pageCount }, (_, i) => before[i] ?? 0n);
    for (let b = 0; b < object.blockCount; b++) {
      const { offset, length } = object.blockRange(b);
      const block = object.decodeBlock(b, bytes.slice(offset, offset + length));
      for (let j = 0; j < block.count; j++)
        pages[object.pgnos[block.firstEntry + j]! - 1] = this.#codecs.hash64(block.page(j));
    }
    const [found, wanted] = [{ pageSize, pages }, this.stateOf(to)];
    // A segment is of the WAL, a snapshot of the database.
    const same = from === null ? isDatabaseOf(found, wanted) : sameState(found, wanted);
    this.#world.require(
      same,
      () => `${object.key} is not the state at ${to.txid}: ${describeDifference(found, wanted)}`,
    );
  }
}

function nameOf({ txid, id }: Position): string {
  return `${txid}/${id.slice(0, 8)}`;
}
