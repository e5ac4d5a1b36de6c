import type { SAHPoolUtil, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { DatabaseHold } from "../src/database-hold.ts";
import { DatabaseInUseError, PoolFullError } from "../src/errors.ts";
import { load } from "../src/load.ts";
import { acquirePoolLock, type PoolLock, type PoolLockOptions } from "./lock.ts";
import { requireOpfs } from "./opfs.ts";
import { ofRealm } from "./realm.ts";

/** Files of one database: itself, its WAL, the side file. */
const FILES_OF_DATABASE = ["", "-wal", "-sluice"];
/** Free slots beside: a restore takes two, a journal, a temporary file. */
const SPARE_FILES = 4;

/** A pool that a replicator may use until its `release`. */
export interface UsedPool {
  readonly sqlite3: Sqlite3Static;
  readonly pool: SAHPoolUtil;
  release(): Promise<void>;
}

interface OwnPool {
  readonly sqlite3: Sqlite3Static;
  readonly pool: SAHPoolUtil;
  readonly lock: PoolLock;
}

interface KnownPool {
  users: number;
  readonly opened: Promise<OwnPool>;
  /** Its lock is being let go. */
  leaving: Promise<void> | null;
}

/** The pools that Sluice installed, by directory, and how many use each. Sync handles are exclusive per pool. */
const own = new Map<string, KnownPool>();

/**
 * The pool in an OPFS directory, installed by Sluice, under the directory's lock: taken before the pool is installed, since
 * an installation that fails for another tab's handles would be no way to find out. Shared by the replicators of this worker.
 * @throws OpfsUnavailableError, DatabaseInUseError, LockUnavailableError, PoolFullError.
 */
export async function useOwnPool(
  directory: string,
  given: Sqlite3Static | undefined,
  options: PoolLockOptions,
): Promise<UsedPool> {
  await requireOpfs();
  for (let leaving = own.get(directory)?.leaving; leaving; leaving = own.get(directory)?.leaving)
    await leaving;
  const known = own.get(directory) ?? {
    users: 0,
    opened: openPool(directory, given, options),
    leaving: null,
  };
  own.set(directory, known);
  known.users += 1;
  const leave = async () => {
    known.users -= 1;
    if (known.users > 0) return;
    const opened = await known.opened.catch(() => null);
    if (opened === null || known.users > 0) {
      if (opened === null && own.get(directory) === known) own.delete(directory);
      return;
    }
    // While the app has files of its own open there, the pool cannot be let go.
    if (!pause(opened.pool)) return;
    known.leaving = opened.lock.release().finally(() => own.delete(directory));
    await known.leaving;
  };
  try {
    const { sqlite3, pool } = await known.opened;
    if (given !== undefined && given !== sqlite3)
      throw new DatabaseInUseError(directory, "another sqlite3 module of this worker");
    return { sqlite3, pool, release: leave };
  } catch (error) {
    await leave();
    throw error;
  }
}

async function openPool(
  directory: string,
  given: Sqlite3Static | undefined,
  wait: PoolLockOptions,
): Promise<OwnPool> {
  const lock = await acquirePoolLock(directory, wait);
  try {
    const sqlite3 = given ?? (await sharedModule());
    const options = {
      name: `sluice-pool:${directory}`,
      directory,
      preserveOnInitFailure: true,
      forceReinitIfPreviouslyFailed: true,
    };
    const pool = await sqlite3.installOpfsSAHPoolVfs(options);
    await pool.unpauseVfs();
    return { sqlite3, pool, lock };
  } catch (error) {
    await lock.release();
    throw explain(error, directory);
  }
}

/** What an installation met. */
function explain(cause: unknown, directory: string): unknown {
  if (!(cause instanceof DOMException)) return cause;
  if (cause.name === "QuotaExceededError") return new PoolFullError(directory, 0, { cause });
  if (cause.name !== "NoModificationAllowedError") return cause;
  return new DatabaseInUseError(
    directory,
    "a pool that Sluice did not install (an app gives its own as `pool`)",
  );
}

function pause(pool: SAHPoolUtil): boolean {
  try {
    pool.pauseVfs();
    return true;
  } catch {
    return false;
  }
}

let module: Promise<Sqlite3Static> | undefined;

function sharedModule(): Promise<Sqlite3Static> {
  module ??= load(() => import("@sqlite.org/sqlite-wasm"))
    .then(({ default: init }) => init())
    .catch((error) => {
      // It, or the WebAssembly that it fetches, may load the next time.
      module = undefined;
      throw error;
    });
  return module;
}

/** The databases in use in a pool, by path. An app's own pool may be given to any copy of this package. */
function claimsOf(pool: SAHPoolUtil): Map<string, DatabaseHold> {
  const all = ofRealm("databases", () => new WeakMap<SAHPoolUtil, Map<string, DatabaseHold>>());
  const claims = all.get(pool) ?? new Map<string, DatabaseHold>();
  all.set(pool, claims);
  return claims;
}

/**
 * Registers a database as in use, and sees to it that the pool has room for its files.
 * @throws DatabaseInUseError a replicator of this worker has it; PoolFullError.
 */
export async function claimDatabase(
  pool: SAHPoolUtil,
  path: string,
): Promise<{ readonly hold: DatabaseHold; readonly release: () => void }> {
  const taken = claimsOf(pool);
  for (let holder = taken.get(path); holder !== undefined; holder = taken.get(path))
    await holder.whenFree(path);
  const hold = new DatabaseHold("worker");
  const release = () => {
    taken.delete(path);
    hold.release();
  };
  taken.set(path, hold);
  try {
    const names = pool.getFileNames();
    // Also those of databases that are not started yet.
    const wanted = [...taken.keys()].flatMap((each) => FILES_OF_DATABASE.map((suffix) => each + suffix));
    const missing = wanted.filter((name) => !names.includes(name)).length;
    await pool.reserveMinimumCapacity(names.length + missing + SPARE_FILES);
    return { hold, release };
  } catch (cause) {
    release();
    throw new PoolFullError(path, pool.getCapacity(), { cause });
  }
}
