import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  decodeWalHeader,
  encodeWalHeader,
  sealWalFrame,
  verifyWalFrame,
  WalChecksum,
  WalFrameHeader,
  type WalHeader,
} from "../../src/wal/wal-format.ts";
import { contentOf, createDatabase, sqlite3, temporaryDirectory, writeToWal } from "./native-sqlite.ts";

/** Every frame of a WAL, checked one after the other; how many verified. */
function validFrames(wal: Uint8Array): number {
  const checksum = new WalChecksum();
  const header = decodeWalHeader(wal, checksum);
  if (!header) return -1;
  const stride = header.pageSize + 24;
  let count = 0;
  for (let at = 32; at + stride <= wal.length; at += stride, count++) {
    if (!verifyWalFrame(wal, at, header, checksum)) break;
  }
  return count;
}

/** The same commits under another byte order, made frame by frame. */
function rewrite(wal: Uint8Array, changes: Partial<WalHeader>): Uint8Array {
  const checksum = new WalChecksum();
  const header = { ...decodeWalHeader(wal, checksum)!, ...changes };
  const copy = wal.slice();
  const frame = new WalFrameHeader();
  encodeWalHeader(copy, header, checksum);
  for (let at = 32; at < copy.length; at += header.pageSize + 24) {
    const { pgno, pageCount } = frame.read(wal, at);
    sealWalFrame(copy, at, header, pgno, pageCount, checksum);
  }
  return copy;
}

function nativeWal(pageSize = 4096) {
  const path = join(temporaryDirectory(), "db");
  createDatabase(path, pageSize);
  const base = `${path}-base`;
  copyFileSync(path, base);
  const wal = writeToWal(
    path,
    "UPDATE t SET a='x' WHERE id%7=0",
    "DELETE FROM t WHERE id>300",
    "INSERT INTO t(a) VALUES('end')",
  );
  return { path, base, wal, frames: (wal.length - 32) / (pageSize + 24) };
}

describe.each([512, 4096, 65536])("a WAL that sqlite3 wrote, pages of %i bytes", (pageSize) => {
  test("verifies frame by frame, and is written again byte for byte", () => {
    const { wal, frames } = nativeWal(pageSize);
    expect(frames).toBeGreaterThan(5);
    expect(decodeWalHeader(wal, new WalChecksum())).toMatchObject({ pageSize, bigEndian: false });
    expect(validFrames(wal)).toBe(frames);
    expect(Buffer.compare(rewrite(wal, {}), wal)).toBe(0);
  });

  test("rewritten with big-endian checksums is recovered by sqlite3", () => {
    const { path, base, wal, frames } = nativeWal(pageSize);
    const bigEndian = rewrite(wal, { bigEndian: true, salt1: 1, salt2: 0xffffffff });
    expect(decodeWalHeader(bigEndian, new WalChecksum())).toMatchObject({
      bigEndian: true,
      salt1: 1,
      salt2: 0xffffffff,
    });
    expect(validFrames(bigEndian)).toBe(frames);
    writeFileSync(`${base}-wal`, bigEndian);
    const recovered = contentOf(base);
    expect(recovered).toMatch(/^ok\n/);
    expect(recovered).toBe(contentOf(path));
  });
});

test("sqlite3 stops at the frame where verification stops", () => {
  const { base, wal, frames } = nativeWal(512);
  const damaged = wal.slice();
  damaged[32 + 24 + 100]! ^= 1;
  expect(validFrames(damaged)).toBe(0);
  writeFileSync(`${base}-wal`, damaged);
  expect(sqlite3(base, "SELECT count(*) FROM t").trim()).toBe("400");
  expect(frames).toBeGreaterThan(0);
});

test.each([0, 1, 2, 3, 4, 5, 6, 7])("alignment %i gives the same sums, in both byte orders", (alignment) => {
  const { wal, frames } = nativeWal(512);
  for (const bytes of [wal, rewrite(wal, { bigEndian: true })]) {
    const moved = new Uint8Array(new ArrayBuffer(bytes.length + 9), alignment, bytes.length);
    moved.set(bytes);
    expect(validFrames(moved)).toBe(frames);
  }
});

test("one checksum serves buffers in turn", () => {
  const { wal, frames } = nativeWal(512);
  const checksum = new WalChecksum();
  const header = decodeWalHeader(wal, checksum)!;
  for (let i = 0; i < frames; i++) {
    const at = 32 + i * 536;
    expect(verifyWalFrame(wal.slice(at, at + 536), 0, header, checksum)).toBe(true);
  }
});

test("a frame is verified from the header of the one before", () => {
  const { wal, frames } = nativeWal(512);
  const header = decodeWalHeader(wal, new WalChecksum())!;
  const fresh = new WalChecksum();
  fresh.begin(header.bigEndian);
  const before = new WalFrameHeader();
  for (let i = frames - 1; i > 0; i--) {
    const at = 32 + i * 536;
    fresh.load(wal, at - 536);
    expect(verifyWalFrame(wal, at, header, fresh)).toBe(true);
    before.read(wal, at);
    expect([fresh.checksum1, fresh.checksum2]).toEqual([before.checksum1, before.checksum2]);
    before.read(wal, at - 536);
    fresh.resume(header.bigEndian, before.checksum1, before.checksum2);
    expect(verifyWalFrame(wal, at, header, fresh)).toBe(true);
  }
});

describe("a frame is refused for its", () => {
  const stride = 536;
  const damage = (at: number, value?: number) => {
    const { wal } = nativeWal(512);
    wal[at] = value ?? wal[at]! ^ 0x10;
    return validFrames(wal);
  };
  test("page number", () => expect(damage(32 + 2 * stride + 3)).toBe(2));
  test("commit size", () => expect(damage(32 + 2 * stride + 7)).toBe(2));
  test("salt1", () => expect(damage(32 + 2 * stride + 8)).toBe(2));
  test("salt2", () => expect(damage(32 + 2 * stride + 15)).toBe(2));
  test("checksum1", () => expect(damage(32 + 2 * stride + 16)).toBe(2));
  test("checksum2", () => expect(damage(32 + 2 * stride + 23)).toBe(2));
  test("first page byte", () => expect(damage(32 + 2 * stride + 24)).toBe(2));
  test("last page byte", () => expect(damage(32 + 3 * stride - 1)).toBe(2));
  test("page number 0, though its checksum be right", () => {
    const bytes = new Uint8Array(536);
    const header: WalHeader = { bigEndian: false, pageSize: 512, checkpointSequence: 0, salt1: 1, salt2: 2 };
    const checksum = new WalChecksum();
    checksum.begin(false);
    sealWalFrame(bytes, 0, header, 0, 0, checksum);
    checksum.begin(false);
    expect(verifyWalFrame(bytes, 0, header, checksum)).toBe(false);
  });
});

describe("a WAL header is refused for its", () => {
  const { wal } = { wal: new Uint8Array(32) };
  const header: WalHeader = {
    bigEndian: false,
    pageSize: 65536,
    checkpointSequence: 3,
    salt1: 0xdeadbeef,
    salt2: 5,
  };
  encodeWalHeader(wal, header, new WalChecksum());
  const decode = (bytes: Uint8Array) => decodeWalHeader(bytes, new WalChecksum());
  const damage = (at: number) => {
    const copy = wal.slice();
    copy[at]! ^= 1;
    return decode(copy);
  };
  test("nothing, when it is whole", () => expect(decode(wal)).toEqual(header));
  test("length", () => expect(decode(wal.subarray(0, 31))).toBeNull());
  test("magic", () => expect(damage(0)).toBeNull());
  test("byte order", () => expect(damage(3)).toBeNull());
  test("version", () => expect(damage(7)).toBeNull());
  test("page size", () => expect(damage(10)).toBeNull());
  test("sequence", () => expect(damage(15)).toBeNull());
  test("salts", () => expect([damage(16), damage(23)]).toEqual([null, null]));
  test("checksum", () => expect([damage(24), damage(31)]).toEqual([null, null]));
  test("page size that SQLite does not have, though its checksum be right", () => {
    for (const pageSize of [0, 1, 256, 4095, 131072]) {
      const bytes = new Uint8Array(32);
      encodeWalHeader(bytes, { ...header, pageSize }, new WalChecksum());
      expect(decode(bytes)).toBeNull();
    }
  });
});
