import fs from "node:fs";
import { assert } from "../src/assert.ts";
import type { PageStage } from "../src/follow-copy.ts";

/** Bytes read back at a time, unless a single page is larger. */
const READ_BYTES = 1 << 20;
const NUMBER_BYTES = 4;

/** Pages in a file, each behind its number, so that memory does not grow with them. Page 1 is kept apart. */
export class FilePageStage implements PageStage {
  readonly #path: string;
  readonly #fd: number;
  /** One page behind its number, as it is written. */
  #record: Buffer | null = null;
  #size = 0;
  pageOne: Uint8Array | null = null;

  /** An older file at the path is written over. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = fs.openSync(path, "w+", 0o600);
  }

  put(pgno: number, page: Uint8Array): void {
    if (pgno === 1) {
      this.pageOne = page.slice();
      return;
    }
    this.#record ??= Buffer.alloc(NUMBER_BYTES + page.length);
    this.#record.writeUInt32LE(pgno);
    this.#record.set(page, NUMBER_BYTES);
    writeAll(this.#fd, this.#record, this.#size);
    this.#size += this.#record.length;
  }

  /** Every page but page 1, in the order in which they came. Views, good until the next. */
  *pages(): Generator<{ pgno: number; page: Uint8Array }> {
    const recordSize = this.#record?.length ?? 0;
    if (recordSize === 0) return;
    const buffer = Buffer.alloc(Math.max(1, Math.floor(READ_BYTES / recordSize)) * recordSize);
    for (let at = 0; at < this.#size; at += buffer.length) {
      const length = Math.min(buffer.length, this.#size - at);
      readAll(this.#fd, buffer.subarray(0, length), at);
      for (let record = 0; record < length; record += recordSize)
        yield {
          pgno: buffer.readUInt32LE(record),
          page: buffer.subarray(record + NUMBER_BYTES, record + recordSize),
        };
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
    fs.rmSync(this.#path, { force: true });
  }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at, bytes.length - at, offset + at);
}

function readAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length; ) {
    const read = fs.readSync(fd, bytes, at, bytes.length - at, offset + at);
    assert(read > 0, "what was staged is there");
    at += read;
  }
}
