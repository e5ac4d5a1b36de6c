import type { CacheEntry, PositionRecord } from "../../src/cache/write-cache.ts";
import { Capture } from "../../src/vfs/capture.ts";
import type { WalIndexHeader } from "../../src/vfs/shared-memory.ts";
import { walFrameHeaderSize, walHeaderSize } from "../../src/wal/wal-format.ts";
import type { Machine } from "./machine.ts";
import { describeDifference, digestOf, isDatabaseOf, type State, sameState, stateAt } from "./state.ts";

/**
 * The reference model of one machine: what SQLite committed there, in order, and how far of it must survive. It looks at
 * the files by itself, in the moment in which SQLite calls something committed.
 */
export class Watch {
  readonly #machine: Machine;
  /** Every state that SQLite committed, the oldest first. The last one is what connections read. */
  #states: State[] = [];
  /** The state of `#states` that a loss of power must not take. */
  #floor = 0;
  /** States by transaction, in the lineage that the record names. */
  #byTxid = new Map<number, State>();
  #lineage: string | null = null;
  /** The newest record that the write cache called durable. */
  record: PositionRecord | null = null;
  #capturing: Capture | null = null;
  /** What the wal-index said last. */
  #seen = "";
  /** A restore may have replaced the database since the last start, by the state at this transaction or a later one. */
  #replacedBy: number | null = null;
  /** Where the chain ended when the process began. */
  #tailAtBegin = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get last(): State | undefined {
    return this.#states.at(-1);
  }

  /** A new process begins: `record` is what its write cache holds. */
  begin(record: PositionRecord | null): void {
    this.#capturing = null;
    const cached = this.record?.cached.txid;
    const { chain, name, world, cacheLost, decided } = this.#machine;
    if (cached !== undefined && !cacheLost && !decided)
      world.require(
        record !== null && record.cached.txid >= cached,
        () => `transaction ${cached} was cached, and now the cache ends at ${record?.cached.txid}`,
      );
    // A record may be durable although the process ended before it could say so. Under a mark it may name another's position.
    if (record !== null) {
      this.#continue(record.lineage);
      chain.wrote(record.writer, name);
      const state = this.#byTxid.get(record.cached.txid);
      const others = record.resync !== undefined && chain.knows(record.cached);
      if (state !== undefined && !others && record.cached.txid > (cached ?? 0))
        chain.define(record.cached, state);
    }
    this.record = record;
    this.#tailAtBegin = chain.tail?.txid ?? 0;
    this.#machine.cacheLost = false;
  }

  /** What is known by transaction is of one history. */
  #continue(lineage: string): void {
    if (this.#lineage !== lineage) this.#byTxid.clear();
    this.#lineage = lineage;
  }

  /** The disk is gone. */
  forget(): void {
    this.#states = [];
    this.#floor = 0;
    this.#byTxid.clear();
    this.#lineage = null;
    this.record = null;
  }

  /** A restore is about to put another database there. */
  replaced(): void {
    this.#replacedBy ??= this.#tailAtBegin;
    this.#byTxid.clear();
  }

  /** Everything committed is on the medium. */
  synced(): void {
    const { disk, dbPath } = this.#machine;
    const durable = disk.find(`${dbPath}-wal`)?.isDurable() ?? true;
    if (durable && this.#capturing !== null) this.#floor = Math.max(0, this.#states.length - 1);
  }

  /** SQLite wants the WAL shorter than it is, or begun anew. */
  walGoes(path: string, size: number): void {
    const { disk, dbPath, world } = this.#machine;
    const wal = disk.find(path);
    if (this.#capturing === null || path !== `${dbPath}-wal` || wal === undefined || wal.size <= size) return;
    const { captured } = this.#capturing;
    if (captured.wal === null) return;
    const end = walHeaderSize + captured.wal.frame * (captured.pageSize + walFrameHeaderSize);
    if (size >= end) return;
    const { record } = this;
    world.require(
      record !== null && (record.resync !== undefined || record.cached.txid >= captured.txid),
      () => `the WAL goes at transaction ${captured.txid}, and ${record?.cached.txid} is cached`,
    );
  }

  /** SQLite gave up the write lock, perhaps having committed, or a process finds what was committed before its start. */
  seen(capture: Capture, header: WalIndexHeader): void {
    const { world } = this.#machine;
    const { salt1, salt2, maxFrame } = header;
    const seen = `${salt1} ${salt2} ${maxFrame}`;
    const nothingNew = seen === this.#seen || maxFrame === 0;
    this.#seen = seen;
    if (nothingNew && this.#capturing === capture) return;
    const state = this.#read(header, header.pageCount);
    const { txid } = capture.captured;
    if (this.#capturing !== capture) {
      this.#follow(capture, txid, state);
      return;
    }
    this.#states.push(state);
    if (capture.broken === null) this.#byTxid.set(txid, state);
    world.note(`committed ${txid} of ${state.pages.length} pages, ${digestOf(state)}`);
    this.synced();
  }

  /** Capture begins, behind the record: what it finds is what was committed there before. */
  #follow(capture: Capture, txid: number, found: State): void {
    const { world } = this.#machine;
    this.#capturing = capture;
    world.note(`follows at ${txid}`);
    const before = this.#byTxid.get(txid);
    const same = before !== undefined && isDatabaseOf(found, before);
    if (this.record?.resync === undefined && before !== undefined)
      world.require(
        same,
        () => `transaction ${txid} was another before: ${describeDifference(before, found)}`,
      );
    const state = same ? before : found;
    for (const later of [...this.#byTxid.keys()]) if (later > txid) this.#byTxid.delete(later);
    this.#byTxid.set(txid, state);
    const { record } = this;
    if (record?.cached.txid === txid && record.resync === undefined)
      this.#machine.chain.define(record.cached, state);
  }

  /** A resync carries what is committed now as one transaction more. */
  skipped(capture: Capture, header: WalIndexHeader, pageCount: number): void {
    this.#byTxid.set(capture.captured.txid, this.#read(header, pageCount));
  }

  #read({ maxFrame }: WalIndexHeader, pageCount: number): State {
    const { disk, dbPath, hash64 } = this.#machine;
    return stateAt(disk, dbPath, maxFrame, maxFrame === 0 ? null : pageCount, hash64);
  }

  /** The write cache says that this is durable. */
  recorded(entry: CacheEntry | null, record: PositionRecord): void {
    const { world, disk, dbPath } = this.#machine;
    const { cached, wal, lineage } = record;
    world.note(`cached ${cached.txid} ${record.resync ?? ""}`);
    this.#continue(lineage);
    const further = cached.txid > (this.record?.cached.txid ?? 0);
    this.record = record;
    this.#machine.chain.wrote(record.writer, this.#machine.name);
    const captured = this.#capturing?.captured;
    if (captured !== undefined && record.resync === undefined)
      world.require(cached.txid <= captured.txid, `${cached.txid} is cached, ${captured.txid} captured`);
    if (entry === null) return;
    const state = this.#byTxid.get(entry.to.txid);
    world.require(state, `transaction ${entry.to.txid} was cached, but never committed`);
    this.#machine.chain.define(entry.to, state!);
    // A merge stands for what was cached before; the WAL may be another one by then.
    if (wal !== null && further) {
      const end = walHeaderSize + wal.frame * (record.pageSize + walFrameHeaderSize);
      world.require(
        disk.find(`${dbPath}-wal`)?.isDurable(end),
        `transaction ${cached.txid} is cached before the WAL is synced`,
      );
    }
  }

  /** What SQLite reads after a start must be what was there before, whatever the crash. */
  started(found: State, powerLost: boolean): void {
    const { world, chain } = this.#machine;
    const restored = this.#replacedBy !== null && chain.holds(found, this.#replacedBy);
    this.#replacedBy = null;
    if (restored || this.#states.length === 0) this.#states = [found];
    else {
      const at = this.#states.findLastIndex((state) => isDatabaseOf(found, state));
      const least = powerLost ? this.#floor : this.#states.length - 1;
      world.require(
        at >= least,
        () =>
          `the database went back to state ${at} of ${this.#states.length}, and ${least} was safe: ` +
          describeDifference(found, this.last!),
      );
      this.#states.length = at + 1;
    }
    this.#floor = Math.min(this.#floor, this.#states.length - 1);
    this.synced();
  }

  /** Another program is about to use the database: the WAL is its own. */
  left(): void {
    this.#capturing = null;
  }

  /** Another program changed the database; null: as what it left, replication has not begun. */
  changed(state: State | null): void {
    this.#states = state === null ? [] : [state];
    this.#floor = 0;
  }

  /** A commit that was under way when the process ended may have happened. */
  allow(states: readonly State[]): void {
    const found = states.at(-1);
    const { last } = this;
    if (found === undefined || last === undefined || sameState(found, last)) return;
    const before = states.findLastIndex((state) => sameState(state, last));
    if (before >= 0 && before === states.length - 2) this.#states.push(found);
  }
}

/** Tells each machine's watch what Capture takes over, whose own word for it is only compared. */
export function watchCapture(current: () => Watch | null): void {
  const { take, skip } = Capture.prototype;
  Capture.prototype.take = function (header) {
    const answer = take.call(this, header);
    current()?.seen(this, header);
    return answer;
  };
  Capture.prototype.skip = function (header, pageCount) {
    const answer = skip.call(this, header, pageCount);
    current()?.skipped(this, header, pageCount);
    return answer;
  };
}
