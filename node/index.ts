import { setMaxListeners } from "node:events";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import {
  type CommonConfig,
  checkBoolean,
  checkSettings,
  checkString,
  commonFields,
  refuseUnknown,
  type WaitOptions,
} from "../src/config.ts";
import { LocalDatabaseError } from "../src/errors.ts";
import { checkModule } from "../src/given-module.ts";
import { Replicator } from "../src/replicator.ts";
import { start } from "../src/start.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import { PatientStore } from "../src/store/patient-store.ts";
import { locationFields, type ReplicaLocation } from "../src/store/replica-location.ts";
import type { VerifyOptions, VerifyReport } from "../src/verify-report.ts";
import { loadCodecs } from "./compression.ts";
import { openStore } from "./open-store.ts";
import { canonicalPath, NodePlatform } from "./platform.ts";
import { sharedModule } from "./sqlite-module.ts";
import { verifyByRestoring } from "./verify.ts";

export type { FollowerEvents, FollowerStatus, FollowOptions } from "../src/follow.ts";
export * from "../src/public.ts";
export type { AppliedEvent } from "../src/pursuit.ts";
export { DirectoryStore } from "./directory-store.ts";
export { ReplicaFollower, type ReplicaFollowerConfig } from "./follower.ts";
export { type GatewayServer, type GatewayServerOptions, serveGateway } from "./gateway-server.ts";
export { toNodeListener } from "./node-listener.ts";
export { openStore } from "./open-store.ts";
export { compactReplica, pruneReplica } from "./replica-tools.ts";

/** How to replicate a database in Node. */
export interface SqliteReplicatorConfig extends CommonConfig, ReplicaLocation {
  /** `s3://bucket/prefix/`, `https://host/path/` (a gateway), `file:///folder`, or an ObjectStore. Or `s3Bucket` and `s3Prefix`. */
  readonly replica?: string | ObjectStore;

  /** Path of the database file. Its folder must exist. */
  readonly dbPath: string;
  /** Folder of the write cache. Default: `<dbPath>-sluice`, beside the database, so that they travel together. */
  readonly cacheDir?: string;
  /** The app's own sqlite-wasm module; default: one that all replicators of this process share. */
  readonly sqlite3?: Sqlite3Static;
  /** Go on where no file locks are available. Two processes can then destroy the database. Default false. */
  readonly unsafeNoLock?: boolean;
}

const fields = [...commonFields, ...locationFields, "dbPath", "cacheDir", "sqlite3", "unsafeNoLock"];

/** Continuous replication of one SQLite database. See `create`. */
export class SqliteReplicator extends Replicator {
  /**
   * Takes the locks and opens the write cache. The database is not opened before `start` or `restore`.
   * @throws ConfigError, DatabaseInUseError, LockUnavailableError, LocalDatabaseError, CacheError.
   */
  static async create(config: SqliteReplicatorConfig): Promise<SqliteReplicator> {
    refuseUnknown(config, fields, "SqliteReplicatorConfig");
    const settings = checkSettings(config);
    const dbPath = canonicalPath(checkString("dbPath", config.dbPath));
    const cacheDir =
      config.cacheDir === undefined ? `${dbPath}-sluice` : checkString("cacheDir", config.cacheDir);
    const unsafeNoLock = checkBoolean("unsafeNoLock", config.unsafeNoLock, false);
    const given = checkModule(config.sqlite3);
    const store = await openStore(config);
    if (!existsSync(dirname(dbPath))) throw new LocalDatabaseError(dbPath, "its folder does not exist");
    const codecs = await loadCodecs();
    const sqlite3 = given ?? (await sharedModule());
    await NodePlatform.whenFree(dbPath);
    const platform = new NodePlatform(sqlite3, codecs, dbPath, cacheDir, unsafeNoLock);
    try {
      const { position } = await platform.cache.load();
      const patient = new PatientStore(store, platform.clock);
      return new SqliteReplicator({ platform, store: patient, settings, record: position, start });
    } catch (error) {
      await platform.release();
      throw error;
    }
  }

  override waitUntilUploaded(options?: WaitOptions): Promise<void> {
    // Whoever waits listens to the signal; of more than ten Node would warn as of a leak.
    if (options?.signal instanceof EventTarget) setMaxListeners(0, options.signal);
    return super.waitUntilUploaded(options);
  }
}

/**
 * Checks a replica, without any local database: every object, byte by byte; the chain over all levels and snapshots; that
 * each snapshot is what the objects before it add up to; and that the newest state restores, into a temporary folder, and
 * passes `PRAGMA integrity_check`. Damage is an answer, never an error.
 * @throws ConfigError, StoreError, and the signal's reason.
 */
export async function verifyReplica(
  location: ReplicaLocation,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  refuseUnknown(location, locationFields, "ReplicaLocation");
  return verifyByRestoring(await openStore(location), options, (config) => SqliteReplicator.create(config));
}
