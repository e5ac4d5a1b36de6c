import { createHash } from "node:crypto";
import fs from "node:fs";
import { LocalDatabaseError } from "../src/errors.ts";
import { fault } from "../src/faults.ts";
import type { CopyState } from "../src/follow-copy.ts";
import { errorCode } from "./errno.ts";
import { syncParent } from "./vfs-path.ts";

/** A state of the copy, and by what its file shows that it is there. */
export interface RecordedState extends CopyState {
  /** See `headerDigest`. */
  readonly header: string;
}

/**
 * What stands beside a copy, written before each change: the copy is at one of these states, and its own header says at
 * which, since SQLite writes it in the same transaction as the pages.
 */
export interface CopyRecord {
  readonly version: 1;
  /** Before the change; null where the copy is being made. */
  readonly before: RecordedState | null;
  readonly after: RecordedState;
}

/** SQLite's header is the first 100 bytes. Its change counter differs after every transaction. */
export const HEADER_BYTES = 100;

export function headerDigest(header: Uint8Array): string {
  return createHash("sha256").update(header.subarray(0, HEADER_BYTES)).digest("hex").slice(0, 32);
}

/** Null where there is none. Throws LocalDatabaseError where it cannot be read. */
export function readRecord(path: string): CopyRecord | null {
  let text: string;
  try {
    text = fs.readFileSync(path, "utf8");
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") return null;
    throw new LocalDatabaseError(path, `cannot be read: ${errorCode(cause)}`, { cause });
  }
  const record = parse(text);
  if (record === null)
    throw new LocalDatabaseError(
      path,
      "is no record of a copy. Delete the copy and this folder, and follow anew",
    );
  if (record.version !== 1)
    throw new LocalDatabaseError(path, "was written by a newer release. Upgrade sqlite-sluice");
  return record;
}

function parse(text: string): CopyRecord | null {
  try {
    const record = JSON.parse(text) as CopyRecord | null;
    return typeof record?.version === "number" && typeof record.after?.header === "string" ? record : null;
  } catch {
    return null;
  }
}

/** Durable, and whole or not at all. */
export function writeRecord(path: string, record: CopyRecord): void {
  const temporary = `${path}.new`;
  const fd = fs.openSync(temporary, "w", 0o600);
  try {
    fs.writeFileSync(fd, `${JSON.stringify(record)}\n`);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fault("follow:before-record");
  fs.renameSync(temporary, path);
  syncParent(fs, path);
}
