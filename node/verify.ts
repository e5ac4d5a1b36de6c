import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { LocalDatabaseError } from "../src/errors.ts";
import type { AuditEvent } from "../src/events.ts";
import type { Replicator } from "../src/replicator.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import { PatientStore } from "../src/store/patient-store.ts";
import { verifyReplica } from "../src/verify.ts";
import { compareWithReplica, hashPages } from "../src/verify-local.ts";
import type { VerifyOptions, VerifyReport } from "../src/verify-report.ts";
import { systemClock } from "./clock.ts";
import { loadCodecs } from "./compression.ts";
import { installNodeVfs } from "./vfs.ts";

type Create = (config: { dbPath: string; replica: ObjectStore; cacheDir: string }) => Promise<Replicator>;

/** `create` makes the replicator that restores the newest state into a temporary folder. */
export async function verifyByRestoring(
  store: ObjectStore,
  options: VerifyOptions,
  create: Create,
): Promise<VerifyReport> {
  const codecs = await loadCodecs();
  return verifyReplica(store, { codecs, clock: systemClock }, options, (signal) =>
    restoreAside(store, create, signal),
  );
}

async function restoreAside(
  store: ObjectStore,
  create: Create,
  signal: AbortSignal | undefined,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-verify-"));
  try {
    const dbPath = join(folder, "data.db");
    const replicator = await create({ dbPath, replica: store, cacheDir: join(folder, "cache") });
    try {
      await replicator.restore({ integrityCheck: "full", ...(signal && { signal }) });
    } finally {
      await replicator.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Compares a database that nobody has open with the newest state of a replica, by hashes. The file stays as it is.
 *
 * Throws LocalDatabaseError, UnsupportedFormatError, StoreError.
 */
export async function compareDatabase(
  sqlite3: Sqlite3Static,
  store: ObjectStore,
  { lineage, newest }: { readonly lineage: string; readonly newest: AuditEvent["position"] },
  dbPath: string,
): Promise<AuditEvent> {
  const codecs = await loadCodecs();
  const { capi } = sqlite3;
  const vfs = installNodeVfs(sqlite3);
  try {
    const db = new sqlite3.oo1.DB({ filename: resolve(dbPath), flags: "w", vfs });
    try {
      // A WAL without shared memory, and not moved into the file when this closes.
      db.exec("PRAGMA locking_mode=EXCLUSIVE");
      capi.sqlite3_db_config(db, capi.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, 0);
      db.exec("BEGIN; SELECT count(*) FROM sqlite_schema");
      const pageSize = Number(db.selectValue("PRAGMA page_size"));
      const pageCount = Number(db.selectValue("PRAGMA page_count"));
      const hashes = await hashPages(sqlite3, db, pageSize, pageCount, codecs, systemClock);
      const state = { position: newest, pageSize, pageCount, hashes };
      return await compareWithReplica(new PatientStore(store, systemClock), lineage, state, codecs);
    } finally {
      db.close();
    }
  } catch (cause) {
    if (!(cause instanceof sqlite3.SQLite3Error)) throw cause;
    const inUse = cause.resultCode === capi.SQLITE_BUSY;
    const why = inUse ? "is in use. Call verify() of the replicator that has it" : cause.message;
    throw new LocalDatabaseError(dbPath, `cannot be compared: ${why}`, { cause });
  }
}
