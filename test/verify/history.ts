/** A replica with three snapshots and two levels, as objects in memory, to be damaged. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../node/clock.ts";
import { MemoryStore, type VerifyOptions, type VerifyReport } from "../../node/index.ts";
import { openObject } from "../../src/format/decode.ts";
import type { ObjectHeader } from "../../src/format/header.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { mergeSegments } from "../../src/merge.ts";
import { verifyReplica } from "../../src/verify.ts";
import { codecs, decodeObject, encodeObject, memorySource, type Pages } from "../format/objects.ts";
import { native } from "../node/vfs-fixture.ts";
import { createQuietly } from "../replicator/history-fixture.ts";

export type Objects = Map<string, Uint8Array>;

export const FIRST = 2;
export const MIDDLE = 6;
export const LAST = 10;
export const snapshots = [FIRST, MIDDLE, LAST].map(snapshotKey) as [string, string, string];
/** Of level 1: transactions 3 to 6, and 7 to 10. */
export const merged = [segmentKey(1, FIRST + 1, MIDDLE), segmentKey(1, MIDDLE + 1, LAST)] as [string, string];
export const level0 = (txid: number) => segmentKey(0, txid, txid);

/** Level 0 from transaction 3 to 10, its merges into level 1, and snapshots at 2, 6 and 10. */
export async function makeHistory(): Promise<Objects> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-verify-"));
  try {
    native(join(folder, "live.db"), "PRAGMA page_size=1024; CREATE TABLE t(n INTEGER PRIMARY KEY, body)");
    const replicator = await createQuietly({
      dbPath: join(folder, "live.db"),
      replica: `file://${folder}/replica`,
    });
    await replicator.start();
    const db = replicator.openDatabase();
    for (let txid = 1; txid <= LAST; txid++) {
      // Segments of several blocks, of growth, and of a shrink that a growth follows.
      if (txid === 5) db.exec("DELETE FROM t WHERE n > 50");
      else if (txid === 8) db.exec("VACUUM");
      else db.exec({ sql: INSERT, bind: [txid % 2 === 1 ? 150 : 5] });
      await replicator.flush();
      if (txid === 1) continue; // The first snapshot may come by itself.
      if ([FIRST, MIDDLE, LAST].includes(txid)) await replicator.snapshot();
    }
    db.close();
    await replicator.stop();
    const objects = readObjects(join(folder, "replica"));
    for (const key of objects.keys())
      if (key.startsWith("wal/0/") && key < level0(FIRST + 1)) objects.delete(key);
    for (const key of objects.keys())
      if (key.startsWith("snapshots/") && !snapshots.includes(key)) objects.delete(key);
    objects.set(merged[0], await merge(objects, FIRST + 1, MIDDLE));
    objects.set(merged[1], await merge(objects, MIDDLE + 1, LAST));
    return objects;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const INSERT = `WITH i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < ?)
  INSERT INTO t(body) SELECT randomblob(700) FROM i`;

function readObjects(folder: string): Objects {
  const objects: Objects = new Map();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort())
    if (statSync(join(folder, name)).isFile() && !name.includes("probe"))
      objects.set(name, new Uint8Array(readFileSync(join(folder, name))));
  return objects;
}

async function merge(objects: Objects, first: number, last: number): Promise<Uint8Array> {
  const parts = await Promise.all(
    Array.from({ length: last - first + 1 }, (_, i) => level0(first + i)).map((key) =>
      openObject(memorySource(objects.get(key)!, key), codecs),
    ),
  );
  const newest = parts.at(-1)!;
  const header: ObjectHeader = { ...newest.header, from: parts[0]!.from, to: newest.to };
  const chunks: Uint8Array[] = [];
  for await (const chunk of mergeSegments(parts, header, codecs)) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

/** The object again, with another header or other pages: whole in itself. */
export async function rewrite(
  bytes: Uint8Array,
  change: { header?: Partial<ObjectHeader>; pages?: (pages: Map<number, Uint8Array>) => Pages },
): Promise<Uint8Array> {
  const { object, pages } = await decodeObject(bytes);
  const changed = change.pages?.(new Map(pages)) ?? pages;
  return encodeObject({ ...object.header, ...change.header }, changed).bytes;
}

/** The object's last page, or another, changed. */
export function flipPage(
  pages: Map<number, Uint8Array>,
  pgno = [...pages.keys()].at(-1)!,
): Map<number, Uint8Array> {
  return pages.set(
    pgno,
    pages.get(pgno)!.map((byte, i) => (i === 500 ? byte ^ 1 : byte)),
  );
}

export async function verified(objects: Objects, options: VerifyOptions = {}): Promise<VerifyReport> {
  const store = new MemoryStore();
  for (const [key, bytes] of objects) await store.put(key, bytes);
  return verifyReplica(store, { codecs, clock: systemClock }, options, null);
}
