import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Database } from "@sqlite.org/sqlite-wasm";
import { checkNumber, checkObject, checkString, type Logger, refuseUnknown } from "../src/config.ts";
import { LocalDatabaseError } from "../src/errors.ts";
import { Follower, type FollowerSettings } from "../src/follow.ts";
import type { Codecs } from "../src/format/codecs.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import { locationFields, type ReplicaLocation } from "../src/store/replica-location.ts";
import { systemClock } from "./clock.ts";
import { loadCodecs } from "./compression.ts";
import { FollowedCopyFile } from "./followed-copy.ts";
import { openStore } from "./open-store.ts";
import { canonicalPath } from "./platform.ts";
import { sharedModule } from "./sqlite-module.ts";

/** How to follow a replica in Node. */
export interface ReplicaFollowerConfig extends ReplicaLocation {
  /** `s3://bucket/prefix/`, `https://host/path/` (a gateway), `file:///folder`, or an ObjectStore. Or `s3Bucket` and `s3Prefix`. */
  readonly replica?: string | ObjectStore;
  /** Path of the copy. Its folder must exist. What the follower knows of it is in `<dbPath>-follow`, beside it. */
  readonly dbPath: string;
  /** Milliseconds between polls of the replica while nothing is new. Default 1000. */
  readonly pollIntervalMs?: number;
  readonly logger?: Logger;
}

const fields = [...locationFields, "dbPath", "pollIntervalMs", "logger"];

/** The largest delay that timers take, milliseconds. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * Keeps a read-only copy of a replicated database current, for any SQLite to read meanwhile: other processes with their
 * own, this one with `openDatabase`. Readers see one whole transaction after the other, and for a moment, while one is
 * put in, SQLITE_BUSY, which a busy timeout waits out.
 */
export class ReplicaFollower extends Follower {
  readonly #file: FollowedCopyFile;

  private constructor(
    file: FollowedCopyFile,
    store: ObjectStore,
    codecs: Codecs,
    settings: FollowerSettings,
  ) {
    super(file, store, codecs, systemClock, settings);
    this.#file = file;
  }

  /**
   * Takes the lock of the copy. Makes no request.
   * @throws ConfigError, DatabaseInUseError (another follower has it), LockUnavailableError, LocalDatabaseError.
   */
  static async create(config: ReplicaFollowerConfig): Promise<ReplicaFollower> {
    refuseUnknown(config, fields, "ReplicaFollowerConfig");
    const dbPath = canonicalPath(checkString("dbPath", config.dbPath));
    const pollIntervalMs = checkNumber("pollIntervalMs", config.pollIntervalMs, 1000, 1, MAX_DELAY_MS);
    const logger = checkObject("logger", config.logger) ?? {};
    const store = await openStore(config);
    if (!existsSync(dirname(dbPath))) throw new LocalDatabaseError(dbPath, "its folder does not exist");
    const [codecs, sqlite3] = [await loadCodecs(), await sharedModule()];
    return new ReplicaFollower(new FollowedCopyFile(sqlite3, dbPath), store, codecs, {
      pollIntervalMs,
      logger,
    });
  }

  /** Opens a connection for reading, after `start` has resolved. Close it before `stop`. */
  openDatabase(): Database {
    return this.#file.openDatabase();
  }
}
