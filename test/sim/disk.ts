import type { Random } from "../replicator/random.ts";

/** Bytes that reach the medium together, or in two parts where power fails meanwhile. */
const SECTOR = 512;

type Change = { readonly offset: number; readonly bytes: Uint8Array } | { readonly size: number };

/** How much of what was not synced a loss of power leaves. */
export type Loss = "nothing-kept" | "in-order" | "any-order" | "everything-kept";

/** What a name in a folder stands for. */
export class Inode {
  #bytes: Uint8Array = new Uint8Array(0);
  size = 0;
  /** Counts writes: the time of the last change, as a file system keeps it. */
  version = 0;
  /** As of the last sync: `#durableSize` bytes of it, and zeros. */
  #durable: Uint8Array = new Uint8Array(0);
  #durableSize = 0;
  #durableVersion = 0;
  #pending: Change[] = [];
  /** A folder entry for it may not be durable yet. */
  entered = false;

  /** `lasting`: it may be there after a crash. */
  constructor(readonly lasting = true) {}

  read(into: Uint8Array, offset: number): boolean {
    const there = this.#bytes.subarray(
      Math.min(offset, this.size),
      Math.min(offset + into.length, this.size),
    );
    into.set(there);
    into.fill(0, there.length);
    return there.length === into.length;
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) this.#bytes = enlarged(this.#bytes, this.size, end * 2);
    this.#bytes.set(bytes, offset);
    this.size = Math.max(this.size, end);
    this.version += 1;
    if (this.lasting) this.#pending.push({ offset, bytes: bytes.slice() });
  }

  truncate(size: number): void {
    if (size === this.size) return;
    if (size > this.#bytes.length) this.#bytes = enlarged(this.#bytes, this.size, size);
    this.#bytes.fill(0, Math.min(size, this.size), this.size);
    this.size = size;
    this.version += 1;
    if (this.lasting) this.#pending.push({ size });
  }

  sync(): void {
    if (this.#durable.length < this.#bytes.length)
      this.#durable = enlarged(this.#durable, this.#durableSize, this.#bytes.length);
    for (const change of this.#pending) apply(change, this.#durable, 0, this.#durable.length);
    this.#durableSize = this.size;
    this.#durableVersion = this.version;
    this.#pending = [];
  }

  /** Whether everything up to `end` survives a loss of power. */
  isDurable(end = this.size): boolean {
    return this.#pending.every((change) => ("bytes" in change ? change.offset : change.size) >= end);
  }

  /** Valid until the next change. */
  content(): Uint8Array {
    return this.#bytes.subarray(0, this.size);
  }

  losePower(loss: Loss, random: Random): void {
    const { bytes, version } = this.#afterLoss(loss, random);
    this.#bytes = bytes;
    this.size = bytes.length;
    this.version = version;
    this.#durable = bytes.slice();
    this.#pending = [];
    this.#durableSize = this.size;
    this.#durableVersion = version;
  }

  /**
   * Each sector shows its state of some moment since the last sync, the next write to it perhaps in part; nothing beside
   * what was written is touched (POWERSAFE_OVERWRITE). The size has a moment of its own, and what a cut took does not
   * come back into a file whose size shows the cut.
   */
  #afterLoss(loss: Loss, random: Random): { bytes: Uint8Array; version: number } {
    const changes = this.#pending;
    const durable = this.#durable.subarray(0, this.#durableSize);
    if (changes.length === 0 || loss === "everything-kept")
      return { bytes: this.content(), version: this.version };
    if (loss === "nothing-kept") return { bytes: durable.slice(), version: this.#durableVersion };
    const moment = random.below(changes.length + 1);
    const version = random.chance(0.5) ? this.version : this.#durableVersion;
    const size = sizeAfter(durable.length, changes, moment);
    const result = enlarged(durable, durable.length, size).slice(0, size);
    const cutLater = changes.findIndex((change, i) => i >= moment && "size" in change);
    const last = cutLater < 0 ? changes.length : cutLater;
    for (let sector = 0; sector < result.length; sector += SECTOR) {
      const touching = changes.map((change, i) => (touches(change, sector) ? i : -1)).filter((i) => i >= 0);
      if (touching.length === 0) continue;
      const first = touching.findLast((i) => i < moment && "size" in changes[i]!) ?? -1;
      const until = loss === "in-order" ? moment : first + 1 + random.below(last - first);
      for (const i of touching) {
        if (i < until) apply(changes[i]!, result, sector, SECTOR);
        else if (loss === "any-order" && i < last && "bytes" in changes[i]! && random.chance(0.2)) {
          apply(changes[i]!, result, sector, random.below(SECTOR));
          break;
        } else break;
      }
    }
    return { bytes: result, version };
  }
}

function enlarged(bytes: Uint8Array, size: number, capacity: number): Uint8Array {
  const larger = new Uint8Array(Math.max(size, capacity));
  larger.set(bytes.subarray(0, size));
  return larger;
}

function sizeAfter(size: number, changes: readonly Change[], count: number): number {
  for (const change of changes.slice(0, count))
    size = "size" in change ? change.size : Math.max(size, change.offset + change.bytes.length);
  return size;
}

function touches(change: Change, sector: number): boolean {
  if ("size" in change) return change.size < sector + SECTOR;
  return change.offset < sector + SECTOR && change.offset + change.bytes.length > sector;
}

/** Applies to the first `length` bytes of a sector. */
function apply(change: Change, to: Uint8Array, sector: number, length: number): void {
  const end = Math.min(to.length, sector + length);
  if ("size" in change) {
    to.fill(0, Math.min(end, Math.max(sector, change.size)), end);
    return;
  }
  const begin = Math.max(sector, change.offset);
  const stop = Math.min(end, change.offset + change.bytes.length);
  if (begin < stop) to.set(change.bytes.subarray(begin - change.offset, stop - change.offset), begin);
}

/** One folder on a machine's disk. What its names stand for is durable only once the folder is synced. */
export class Disk {
  #names = new Map<string, Inode>();
  #durable = new Map<string, Inode>();
  #pending: { readonly name: string; readonly inode: Inode | null; readonly from?: string }[] = [];
  /** No room for more bytes. */
  full = false;

  find(name: string): Inode | undefined {
    return this.#names.get(name);
  }

  names(): string[] {
    return [...this.#names.keys()].sort();
  }

  create(name: string): Inode {
    const inode = new Inode();
    this.#change(name, inode);
    return inode;
  }

  remove(name: string): void {
    this.#change(name, null);
  }

  rename(from: string, to: string): void {
    const inode = this.#names.get(from)!;
    this.#names.delete(from);
    this.#names.set(to, inode);
    this.#pending.push({ name: to, inode, from });
  }

  #change(name: string, inode: Inode | null): void {
    if (inode === null) this.#names.delete(name);
    else this.#names.set(name, inode);
    this.#pending.push({ name, inode });
  }

  syncFolder(): void {
    this.#durable = new Map(this.#names);
    this.#pending = [];
  }

  /** Entries stand as of some moment since the folder was synced, or each for itself. */
  losePower(loss: Loss, random: Random): void {
    const names = this.#durable;
    const moment = random.below(this.#pending.length + 1);
    this.#pending.forEach(({ name, inode, from }, i) => {
      const kept =
        loss === "everything-kept" ||
        (loss === "in-order" && i < moment) ||
        (loss === "any-order" && random.chance(0.5));
      if (!kept) return;
      if (from !== undefined) names.delete(from);
      if (inode === null) names.delete(name);
      else names.set(name, inode);
    });
    this.#names = names;
    for (const inode of new Set(names.values())) inode.losePower(loss, random);
    this.syncFolder();
  }
}
