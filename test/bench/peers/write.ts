import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { SqliteReplicator } from "../../../node/index.ts";
import { CountingStore } from "../counting-store.ts";
import { peakRss } from "../probe.ts";
import { loadSqlite } from "../workload.ts";
import { nativeSql, type Sql, wasmSql } from "./sql.ts";
import { type WorkloadName, workloads } from "./workloads.ts";

/**
 * Who writes: `sluice` through the shim to a replica; `wasm` the same VFS alone (no shared memory, so in exclusive locking
 * mode); `native` better-sqlite3, with or without Litestream beside it, which it does not know of; `patient` the same with
 * checkpoints left to Litestream, as its documentation advises, or a long burst makes it begin anew with a snapshot.
 */
export type Writer = "sluice" | "wasm" | "native" | "patient";

/** A tenth of the transactions come before those that are timed: the JIT compiles meanwhile. They are shipped like all. */
const WARM_UP = 10;

export interface WriteResult {
  /** Of the `count` transactions that are timed. */
  readonly ms: number;
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  /** Of the transactions, and what shipping them took after the last one. */
  readonly cpuMs: number;
  readonly peakRss: number;
  /** To the store; 0 where there is none. */
  readonly requests: number;
  readonly bytes: number;
}

/** A database with a workload's tables, and what it works on, in WAL mode. Made natively: it is the same file for all. */
export async function makePeerDatabase(path: string, workload: WorkloadName, bytes: number): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const sql = nativeSql(path);
  sql.exec("PRAGMA page_size=4096; PRAGMA journal_mode=off; PRAGMA synchronous=off; BEGIN");
  workloads[workload].fill(sql, bytes);
  sql.exec("COMMIT; PRAGMA journal_mode=wal");
  sql.close();
}

/** Commits `count` transactions as fast as it can, each timed. */
export async function measureWrite(
  writer: Writer,
  path: string,
  workload: WorkloadName,
  count: number,
  replica: string,
): Promise<WriteResult> {
  const { sql, store, end } = await writers[writer](path, replica);
  sql.exec(`PRAGMA synchronous=${workloads[workload].synchronous}`);
  const before = { requests: store?.puts ?? 0, bytes: store?.segmentBytes ?? 0 };
  const transaction = workloads[workload].begin(sql);
  const warmUp = Math.ceil(count / WARM_UP);
  for (let i = 0; i < warmUp; i++) transaction(i);
  const cpuBefore = process.cpuUsage();
  const latencies = commitAll(transaction, warmUp, count);
  await end();
  const { user, system } = process.cpuUsage(cpuBefore);
  const ms = latencies.reduce((sum, value) => sum + value, 0);
  latencies.sort();
  const at = (part: number) => latencies[Math.min(count - 1, Math.floor(part * count))]!;
  return {
    ms,
    count,
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    cpuMs: (user + system) / 1000,
    peakRss: peakRss(),
    requests: (store?.puts ?? 0) - before.requests,
    bytes: (store?.segmentBytes ?? 0) - before.bytes,
  };
}

/** Milliseconds of each transaction. */
function commitAll(transaction: (i: number) => void, first: number, count: number): Float64Array {
  const latencies = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    transaction(first + i);
    latencies[i] = performance.now() - began;
  }
  return latencies;
}

interface Session {
  readonly sql: Sql;
  readonly store: CountingStore | null;
  end(): Promise<void>;
}

const writers: Record<Writer, (path: string, replica: string) => Promise<Session>> = {
  async sluice(path, replica) {
    const store = new CountingStore(replica);
    const replicator = await SqliteReplicator.create({
      dbPath: path,
      replica: store,
      snapshotIntervalSecs: 0,
    });
    await replicator.start();
    await replicator.snapshot(); // the first one is due at start: it must not run into the measurement
    const sql = wasmSql(replicator.openDatabase());
    const end = async () => {
      await replicator.flush();
      sql.close();
      await replicator.stop();
    };
    return { sql, store, end };
  },
  async wasm(path) {
    const { sqlite3, vfs } = await loadSqlite();
    const db = new sqlite3.oo1.DB({ filename: path, flags: "w", vfs });
    db.exec("PRAGMA locking_mode=exclusive");
    const sql = wasmSql(db);
    return { sql, store: null, end: async () => sql.close() };
  },
  async native(path) {
    const sql = nativeSql(path);
    return { sql, store: null, end: async () => sql.close() };
  },
  async patient(path) {
    const sql = nativeSql(path);
    sql.exec("PRAGMA wal_autocheckpoint=0");
    return { sql, store: null, end: async () => sql.close() };
  },
};
