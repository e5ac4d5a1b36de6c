import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { SqliteReplicator } from "../../node/index.ts";
import { canonicalPath } from "../../node/platform.ts";
import { ShimVfs } from "../../src/vfs/shim.ts";
import { CountingStore } from "./counting-store.ts";
import { commitRows, commitSchema, createDatabase, loadSqlite } from "./workload.ts";

/** Commits before the ones that count, in a database of their own: the JIT compiles meanwhile. */
const WARM_UP = 10_000;

export type CommitVariant = "replicated" | "exclusive" | "shared";

export interface CommitResult {
  readonly ms: number;
  /** Time of all processors, user and system: what a busy machine disturbs least. */
  readonly cpuMs: number;
  /** Largest size of the WAL seen, bytes. */
  readonly walBytes: number;
  readonly puts: number;
  readonly segments: number;
  readonly segmentBytes: number;
  /** Of `flush`, after the loop. */
  readonly flushMs: number;
}

type Session = { readonly db: Database; readonly store: CountingStore | null; end(): Promise<number> };

/**
 * One-row commits in a loop that never yields.
 * - replicated: through the shim, to a directory;
 * - exclusive: the Node VFS alone, which has no shared memory, so WAL with locking_mode=exclusive;
 * - shared: the shim passing everything on (capture is null), for its shared memory: WAL in normal locking mode.
 */
export async function measureCommits(
  directory: string,
  variant: CommitVariant,
  synchronous: string,
  count: number,
): Promise<CommitResult> {
  await run(join(directory, "warm"), variant, synchronous, Math.min(count, WARM_UP));
  return run(join(directory, "measured"), variant, synchronous, count);
}

async function run(
  directory: string,
  variant: CommitVariant,
  synchronous: string,
  count: number,
): Promise<CommitResult> {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, "app.db");
  await createDatabase(path, commitSchema);
  const { db, store, end } = await sessions[variant](path, directory);
  db.exec(`PRAGMA synchronous=${synchronous}; PRAGMA wal_autocheckpoint=1000`);
  let walBytes = 0;
  const cpuBefore = process.cpuUsage();
  const ms = commitRows(db, count, 7, (i) => {
    if (i % 500 === 0) walBytes = Math.max(walBytes, statSync(`${path}-wal`).size);
  });
  const cpu = process.cpuUsage(cpuBefore);
  walBytes = Math.max(walBytes, statSync(`${path}-wal`).size);
  const flushMs = await end();
  rmSync(directory, { recursive: true });
  const { puts = 0, segments = 0, segmentBytes = 0 } = store ?? {};
  return { ms, cpuMs: (cpu.user + cpu.system) / 1000, walBytes, puts, segments, segmentBytes, flushMs };
}

let shim: ShimVfs | undefined;

const sessions: Record<CommitVariant, (path: string, directory: string) => Promise<Session>> = {
  async replicated(path, directory) {
    const store = new CountingStore(pathToFileURL(join(directory, "replica")));
    const { sqlite3 } = await loadSqlite();
    const replicator = await SqliteReplicator.create({ dbPath: path, replica: store, sqlite3 });
    await replicator.start();
    await replicator.snapshot(); // the first one is due at start: it must not run into the measurement
    const db = replicator.openDatabase();
    const end = async () => {
      const began = performance.now();
      await replicator.flush();
      const ms = performance.now() - began;
      db.close();
      await replicator.stop();
      return ms;
    };
    return { db, store, end };
  },
  async exclusive(path) {
    const { sqlite3, vfs } = await loadSqlite();
    const db = new sqlite3.oo1.DB({ filename: path, flags: "c", vfs });
    db.exec("PRAGMA locking_mode=exclusive; PRAGMA journal_mode=wal");
    return { db, store: null, end: () => closed(db) };
  },
  async shared(path) {
    const { sqlite3, vfs } = await loadSqlite();
    shim ??= new ShimVfs(sqlite3, "bench-shim", vfs, canonicalPath);
    shim.watch(path).admitting = true;
    const db = new sqlite3.oo1.DB({ filename: path, flags: "c", vfs: shim.name });
    db.exec("PRAGMA journal_mode=wal");
    return { db, store: null, end: () => closed(db) };
  },
};

/** There is nothing to flush. */
async function closed(db: Database): Promise<number> {
  db.close();
  return 0;
}

/** The same commits spread over time, as an application makes them: what a replica costs in requests and bytes. */
export async function measureRequests(
  directory: string,
  count: number,
  perSecond: number,
): Promise<{ seconds: number; puts: number; segments: number; segmentBytes: number }> {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, "app.db");
  await createDatabase(path, commitSchema);
  const { db, store, end } = await sessions.replicated(path, directory);
  const before = store!.puts;
  const began = performance.now();
  for (let done = 0; done < count; ) {
    const owed = Math.min(count, Math.floor(((performance.now() - began) / 1000) * perSecond));
    if (owed > done) commitRows(db, owed - done, done);
    done = Math.max(done, owed);
    await sleep(5);
  }
  await end();
  const { puts, segments, segmentBytes } = store!;
  rmSync(directory, { recursive: true });
  return { seconds: (performance.now() - began) / 1000, puts: puts - before, segments, segmentBytes };
}
