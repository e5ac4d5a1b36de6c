import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { SqliteReplicator } from "../../node/index.ts";
import { canonicalPath } from "../../node/platform.ts";
import { ShimVfs } from "../../src/vfs/shim.ts";
import { CountingStore } from "./counting-store.ts";
import { commitRows, commitSchema, createDatabase, loadSqlite, RowWriter } from "./workload.ts";

/** Commits of each variant before the ones that count, in databases of their own: the JIT compiles meanwhile. */
const WARM_UP = 4000;
/** Commits of a turn. A disk is slow or fast for seconds on end, so turns of some 100 ms meet it alike. */
const TURN = 500;

const variants = ["replicated", "exclusive", "shared"] as const;
export type CommitVariant = (typeof variants)[number];

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

interface Session {
  readonly db: Database;
  readonly store: CountingStore | null;
  /** Milliseconds that remained to be replicated. */
  end(): Promise<number>;
}

/**
 * One-row commits in a loop that never yields, a database for each variant, turn by turn:
 * - replicated: through the shim, to a directory;
 * - exclusive: the Node VFS alone, which has no shared memory, so WAL with locking_mode=exclusive;
 * - shared: the shim passing everything on (capture is null), for its shared memory: WAL in normal locking mode.
 */
export async function measureCommits(
  directory: string,
  synchronous: string,
  count: number,
): Promise<Record<CommitVariant, CommitResult>> {
  await compare(join(directory, "warm"), synchronous, Math.min(count, WARM_UP));
  return compare(join(directory, "measured"), synchronous, count);
}

async function compare(
  directory: string,
  synchronous: string,
  count: number,
): Promise<Record<CommitVariant, CommitResult>> {
  const runs = {} as Record<CommitVariant, CommitRun>;
  for (const variant of variants)
    runs[variant] = await CommitRun.begin(join(directory, variant), variant, synchronous);
  for (let done = 0, turn = 0; done < count; done += TURN, turn++)
    // Each variant comes first, second and third equally often.
    for (let i = 0; i < variants.length; i++)
      runs[variants[(turn + i) % variants.length]!].commit(Math.min(TURN, count - done));
  const results = {} as Record<CommitVariant, CommitResult>;
  for (const variant of variants) results[variant] = await runs[variant].end();
  rmSync(directory, { recursive: true });
  return results;
}

/** One variant's database, and what its commits took so far. */
class CommitRun {
  readonly #path: string;
  readonly #session: Session;
  readonly #rows: RowWriter;
  #ms = 0;
  #cpu = { user: 0, system: 0 };
  #walBytes = 0;

  private constructor(path: string, session: Session) {
    this.#path = path;
    this.#session = session;
    this.#rows = new RowWriter(session.db, 7);
  }

  static async begin(directory: string, variant: CommitVariant, synchronous: string): Promise<CommitRun> {
    mkdirSync(directory, { recursive: true });
    const path = join(directory, "app.db");
    await createDatabase(path, commitSchema);
    const session = await sessions[variant](path, directory);
    session.db.exec(`PRAGMA synchronous=${synchronous}; PRAGMA wal_autocheckpoint=1000`);
    return new CommitRun(path, session);
  }

  commit(count: number): void {
    const before = process.cpuUsage();
    this.#ms += this.#rows.commit(count);
    const { user, system } = process.cpuUsage(before);
    this.#cpu = { user: this.#cpu.user + user, system: this.#cpu.system + system };
    this.#walBytes = Math.max(this.#walBytes, statSync(`${this.#path}-wal`).size);
  }

  async end(): Promise<CommitResult> {
    this.#rows.end();
    const flushMs = await this.#session.end();
    const { puts = 0, segments = 0, segmentBytes = 0 } = this.#session.store ?? {};
    const cpuMs = (this.#cpu.user + this.#cpu.system) / 1000;
    return { ms: this.#ms, cpuMs, walBytes: this.#walBytes, puts, segments, segmentBytes, flushMs };
  }
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
