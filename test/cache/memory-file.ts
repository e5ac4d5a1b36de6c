import type { SyncFile } from "../../src/cache/side-file.ts";

/** What a file holds, and what of it a crash of the machine leaves. */
export class MemoryDisk {
  bytes: Uint8Array = new Uint8Array();
  synced: Uint8Array = new Uint8Array();
  /** No more room than this, bytes. */
  capacity = Number.POSITIVE_INFINITY;
}

export class DiskFullError extends Error {}

/** A file in memory, for tests of what has to survive. */
export class MemoryFile implements SyncFile {
  readonly #disk: MemoryDisk;

  constructor(disk: MemoryDisk) {
    this.#disk = disk;
  }

  size(): number {
    return this.#disk.bytes.length;
  }

  read(into: Uint8Array, offset: number): boolean {
    const there = this.#disk.bytes.subarray(offset, offset + into.length);
    into.fill(0);
    into.set(there);
    return there.length === into.length;
  }

  write(bytes: Uint8Array, offset: number): void {
    const size = Math.max(this.#disk.bytes.length, offset + bytes.length);
    if (size > Math.max(this.#disk.capacity, this.#disk.bytes.length)) throw new DiskFullError("no room");
    const next = new Uint8Array(size);
    next.set(this.#disk.bytes);
    next.set(bytes, offset);
    this.#disk.bytes = next;
  }

  truncate(size: number): void {
    this.#disk.bytes = this.#disk.bytes.slice(0, size);
  }

  sync(): void {
    this.#disk.synced = this.#disk.bytes.slice();
  }

  close(): void {}
}
