import {
  checkNumber,
  checkObject,
  checkSettings,
  checkString,
  commonFields,
  refuseUnknown,
} from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";
import type { Codecs } from "../src/format/codecs.ts";
import { checkModule } from "../src/given-module.ts";
import type { Opened } from "../src/replicator.ts";
import { start } from "../src/start.ts";
import { PatientStore } from "../src/store/patient-store.ts";
import { locationFields } from "../src/store/replica-location.ts";
import { canonicalDirectory } from "./lock.ts";
import { openStore } from "./open-store.ts";
import { canonicalPath, PoolPlatform } from "./platform.ts";
import { type UsedPool, useOwnPool } from "./pool.ts";
import type { SqliteReplicatorConfig } from "./replicator.ts";

const fields = [
  ...commonFields,
  ...locationFields,
  "dbPath",
  "cacheDir",
  "directory",
  "sqlite3",
  "pool",
  "lock",
] as const satisfies readonly (keyof SqliteReplicatorConfig)[];

const DEFAULTS = { snapshotIntervalSecs: 0, uploadIntervalMs: 10_000 };
const DEFAULT_DIRECTORY = "/.sluice";
const DEFAULT_WAIT_MS = 5000;
/** Bytes. A pool has room for names of 510, and ours add up to "-sluice-new-journal". */
const MAX_PATH_SIZE = 480;

/** What `create` does once, before a replicator is there; a chunk of its own, that loads beside those of SQLite and zstd. */
export async function open(config: SqliteReplicatorConfig, codecs: Promise<Codecs>): Promise<Opened> {
  refuseUnknown(config, fields, "SqliteReplicatorConfig");
  const settings = checkSettings(config, DEFAULTS);
  const dbPath = checkPath(config.dbPath);
  const store = await openStore(config);
  const { openPool, cacheName } = checkPlace(config, dbPath, settings.signal);
  const loaded = await codecs;
  const use = await openPool();
  let platform: PoolPlatform | null = null;
  try {
    const onTrouble = (error: unknown) => settings.logger.warn?.(`sluice: ${String(error)}`);
    platform = await PoolPlatform.create({ use, codecs: loaded, dbPath, cacheName, onTrouble });
    const { position } = await platform.cache.load();
    return { platform, store: new PatientStore(store, platform.clock), settings, record: position, start };
  } catch (error) {
    await (platform ?? use).release();
    throw error;
  }
}

/** A path that means the same file however often opfs-sahpool reads it: "user:1.db" would be a URL, "a?b" the file "a". */
function checkPath(value: unknown): string {
  const path = checkString("dbPath", value);
  const read = canonicalPath(path);
  if (/[?#]/.test(path) || read.endsWith("/") || canonicalPath(read) !== read)
    throw new ConfigError(
      "dbPath",
      'must be the path of a file, such as "/data.db", without ":", "?" and "#"',
    );
  if (read.length > MAX_PATH_SIZE)
    throw new ConfigError("dbPath", `must have at most ${MAX_PATH_SIZE} bytes, percent-encoded as in a URL`);
  return path;
}

/** Where the database is to be, checked; nothing is done yet. */
function checkPlace(
  config: SqliteReplicatorConfig,
  dbPath: string,
  signal: AbortSignal | undefined,
): { openPool: () => Promise<UsedPool>; cacheName: string } {
  const sqlite3 = checkModule(config.sqlite3);
  if (sqlite3 !== undefined && typeof sqlite3.installOpfsSAHPoolVfs !== "function")
    throw new ConfigError("sqlite3", "must be what sqlite-wasm's init function resolves to, in a worker");
  const pool = checkObject("pool", config.pool);
  const lock = checkObject("lock", config.lock) ?? {};
  refuseUnknown(lock, ["waitMs"], "lock");
  const name = (place: string) =>
    config.cacheDir === undefined
      ? `sluice:${place}:${canonicalPath(dbPath)}`
      : checkString("cacheDir", config.cacheDir);
  if (pool === undefined) {
    const directory =
      config.directory === undefined
        ? DEFAULT_DIRECTORY
        : canonicalDirectory(checkString("directory", config.directory));
    const waitMs = checkNumber("lock.waitMs", lock.waitMs, DEFAULT_WAIT_MS, 0, 2 ** 31 - 1);
    return { openPool: () => useOwnPool(directory, sqlite3, { waitMs, signal }), cacheName: name(directory) };
  }
  if (sqlite3 === undefined)
    throw new ConfigError("pool", "needs sqlite3, the module that it was installed in");
  for (const field of ["directory", "lock"] as const)
    if (config[field] !== undefined)
      throw new ConfigError(field, "is for a pool that Sluice installs; the one in `pool` is yours");
  const given = { sqlite3, pool, release: async () => {} };
  return { openPool: async () => given, cacheName: name(pool.vfsName) };
}
