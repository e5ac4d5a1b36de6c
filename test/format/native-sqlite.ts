/** The judges: the real sqlite3 and zstd command line tools, and files that they made. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { decodeWalHeader, WalChecksum, WalFrameHeader, walHeaderSize } from "../../src/wal/wal-format.ts";

export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "sluice-format-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

export function sqlite3(path: string, ...commands: string[]): string {
  return run("sqlite3", ["-batch", "-bail", path, ...commands]).toString();
}

export function zstdDecompress(bytes: Uint8Array): Buffer {
  return run("zstd", ["-d", "-c"], bytes);
}

function run(command: string, args: string[], input?: Uint8Array): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    maxBuffer: 1 << 30,
    ...(input ? { input } : {}),
  });
  if (error) throw error;
  if (status !== 0 || stderr.length > 0) throw new Error(`${command} ${args.join(" ")}: ${status} ${stderr}`);
  return stdout;
}

/** Everything in the database, or what is wrong with it. */
export function contentOf(path: string): string {
  return sqlite3(path, "PRAGMA integrity_check", ".dump");
}

/** A database in WAL mode, all of it in the main file. */
export function createDatabase(path: string, pageSize: number): void {
  sqlite3(
    path,
    `PRAGMA page_size=${pageSize}`,
    "PRAGMA journal_mode=WAL",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB)",
    "CREATE INDEX t_a ON t(a)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400) INSERT INTO t SELECT i, hex(randomblob(20)), randomblob(700) FROM n",
  );
}

/** Runs SQL and leaves the WAL beside the database, as a crash would. */
export function writeToWal(path: string, ...sql: string[]): Uint8Array {
  sqlite3(path, ".dbconfig no_ckpt_on_close on", "PRAGMA wal_autocheckpoint=0", ...sql);
  return new Uint8Array(readFileSync(`${path}-wal`));
}

/** Newest version of each page that the WAL's commits hold, ascending, and the size of the database after them. */
export function committedPages(wal: Uint8Array): {
  pages: Map<number, Uint8Array>;
  pageCount: number;
  pageSize: number;
} {
  const header = decodeWalHeader(wal, new WalChecksum());
  if (!header) throw new Error("not a WAL");
  const stride = header.pageSize + 24;
  const frame = new WalFrameHeader();
  const newest = new Map<number, Uint8Array>();
  let pageCount = 0;
  for (let at = walHeaderSize; at + stride <= wal.length; at += stride) {
    frame.read(wal, at);
    newest.set(frame.pgno, wal.subarray(at + 24, at + stride));
    pageCount = frame.pageCount || pageCount;
  }
  const pages = new Map([...newest].filter(([pgno]) => pgno <= pageCount).sort(([a], [b]) => a - b));
  return { pages, pageCount, pageSize: header.pageSize };
}
