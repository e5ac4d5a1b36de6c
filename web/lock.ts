import { DatabaseInUseError, LockUnavailableError } from "../src/errors.ts";
import { ofRealm } from "./realm.ts";

const DEFAULT_WAIT_MS = 5000;

export interface PoolLockOptions {
  /** Milliseconds to wait for another holder, 5000 by default. 0: not at all. */
  readonly waitMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A lock held by this realm, until `release` or until its page or worker ends. */
export interface PoolLock {
  /** Resolves when others can have it. A second call does nothing more. */
  release(): Promise<void>;
}

/**
 * Takes the Web Lock of the directory of an opfs-sahpool, to be held from before the pool is installed until after it is
 * gone: its sync handles are exclusive for the whole pool, and an installation that fails may delete files.
 * @throws DatabaseInUseError this realm has it or waits for it already (at once), or another holds it after `waitMs`.
 * @throws LockUnavailableError there are no Web Locks here.
 * @throws the signal's reason, when aborted.
 */
export async function acquirePoolLock(directory: string, options: PoolLockOptions = {}): Promise<PoolLock> {
  const { waitMs = DEFAULT_WAIT_MS, signal } = options;
  signal?.throwIfAborted();
  const manager = lockManager();
  const pool = canonicalDirectory(directory);
  const taken = registry();
  if (taken.has(pool)) throw new DatabaseInUseError(directory, "this page or worker itself");
  taken.add(pool);
  try {
    const name = `sluice:${pool}`;
    const held =
      (await hold(manager, name, { ifAvailable: true })) ??
      (await waitFor(manager, name, waitMs, signal)) ??
      (await refuse(manager, pool, directory));
    // A courtesy: the lock counts without it.
    const label = await hold(manager, labelOf(pool), { ifAvailable: true }).catch(() => null);
    const release = async () => {
      taken.delete(pool);
      await Promise.all([held(), label?.()]);
    };
    if (signal?.aborted) await release();
    signal?.throwIfAborted();
    return { release };
  } catch (error) {
    taken.delete(pool);
    throw error;
  }
}

/** As opfs-sahpool itself reads it: empty parts do not count. */
export function canonicalDirectory(directory: string): string {
  return `/${directory.split("/").filter(Boolean).join("/")}`;
}

function lockManager(): LockManager {
  const manager = globalThis.navigator?.locks as LockManager | undefined;
  if (manager === undefined) {
    throw new LockUnavailableError(
      "There are no Web Locks here, so nothing would keep two tabs from one database. Use https or localhost, and a browser that has them.",
    );
  }
  return manager;
}

/** The pools of this realm. */
function registry(): Set<string> {
  return ofRealm("pool-locks", () => new Set());
}

type Release = () => Promise<void>;

/** Resolves with what gives the lock back, or null where it is not available. */
function hold(manager: LockManager, name: string, options: LockOptions): Promise<Release | null> {
  return new Promise((resolve, reject) => {
    const request = manager.request(name, options, (lock) => {
      if (lock === null) return resolve(null);
      return new Promise<void>((end) => {
        resolve(async () => {
          end();
          await request.catch(() => undefined);
        });
      });
    });
    request.catch((error: unknown) => reject(unavailable(error)));
  });
}

/** An opaque origin, or a document that is not active. */
function unavailable(error: unknown): unknown {
  if (!(error instanceof DOMException) || !["SecurityError", "InvalidStateError"].includes(error.name))
    return error;
  return new LockUnavailableError(`Web Locks are refused here: ${error.message}`, { cause: error });
}

async function waitFor(
  manager: LockManager,
  name: string,
  waitMs: number,
  signal: AbortSignal | undefined,
): Promise<Release | null> {
  const give = new AbortController();
  const late = new DOMException("waited long enough", "TimeoutError");
  const aborted = () => give.abort(signal?.reason);
  const timer = setTimeout(() => give.abort(late), waitMs);
  signal?.addEventListener("abort", aborted, { once: true });
  if (signal?.aborted) aborted();
  try {
    return await hold(manager, name, { signal: give.signal });
  } catch (error) {
    if (error === late) return null;
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", aborted);
  }
}

async function refuse(manager: LockManager, pool: string, directory: string): Promise<never> {
  const { held = [] } = await manager.query();
  const name = held.map((lock) => lock.name ?? "").find((each) => each.startsWith(labelPrefix(pool)));
  const holder = name?.slice(labelPrefix(pool).length) ?? "another tab or worker of this site";
  throw new DatabaseInUseError(directory, holder);
}

/**
 * Who holds the pool, as the name of a second lock: the browser lists names to the whole site, also those of frozen
 * pages, which would not answer a message, and forgets them with their holder. No query and no hash: they may be secret.
 */
function labelOf(pool: string): string {
  const { origin, pathname } = globalThis.location;
  return `${labelPrefix(pool)}another tab or worker (${origin}${pathname}, since ${new Date().toISOString()})`;
}

function labelPrefix(pool: string): string {
  return `sluice-holder:${encodeURIComponent(pool)}:`;
}
