import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { assert } from "./assert.ts";
import { fault } from "./faults.ts";
import { type Codecs, zstdLevel } from "./format/codecs.ts";
import { ObjectEncoder } from "./format/encode.ts";
import type { ObjectHeader } from "./format/header.ts";
import type { Clock } from "./platform.ts";

/**
 * How long reading a block's pages may hold the event loop, milliseconds: in OPFS each page is an operation of its own.
 * Measured against 3 ms in Chromium (test/bench/web, case snapshot, in pairs), commits one after the other meanwhile: each takes
 * half as long (median and p99), 2.4 times as many pass, and the snapshot takes 1.4 times as long.
 */
const TURN_MS = 1;

/** Every page of one state of a database, in order, read inside a transaction that the caller holds open on `db`. */
export function* readPages(
  sqlite3: Sqlite3Static,
  db: Database,
  pageSize: number,
): Generator<{ readonly pgno: number; readonly page: Uint8Array }> {
  const { capi, wasm } = sqlite3;
  const statement = db.prepare("SELECT pgno, data FROM sqlite_dbpage('main')");
  try {
    while (statement.step()) {
      const pgno = capi.sqlite3_column_int(statement, 0);
      const at = Number(capi.sqlite3_column_blob(statement, 1));
      assert(capi.sqlite3_column_bytes(statement, 1) === pageSize, `page ${pgno} has another size`);
      yield { pgno, page: wasm.heap8u().subarray(at, at + pageSize) };
    }
  } finally {
    statement.finalize();
  }
}

/**
 * A snapshot object as a stream, for a multipart upload. When all pages are read, `mayFinish` is given their hashes, in
 * order; the last chunk, without which nothing is published, comes only after it resolved (all segments up to the position are
 * uploaded, and lead there; invariant 6).
 */
export async function* snapshotChunks(
  sqlite3: Sqlite3Static,
  db: Database,
  header: ObjectHeader,
  codecs: Codecs,
  clock: Clock,
  mayFinish: (hashes: BigUint64Array) => Promise<void>,
  onPage: (pgno: number) => void,
): AsyncGenerator<Uint8Array> {
  const encoder = new ObjectEncoder(header, codecs, zstdLevel);
  yield encoder.start();
  let since = clock.now();
  for (const { pgno, page } of readPages(sqlite3, db, header.pageSize)) {
    const chunk = encoder.page(pgno, page);
    if (chunk !== undefined) {
      onPage(pgno);
      yield chunk;
    } else if (clock.now() - since < TURN_MS) continue;
    await clock.turn();
    since = clock.now();
  }
  fault("snapshot:before-publish");
  await mayFinish(encoder.hashes);
  yield encoder.finish().chunk;
}
