import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { WriteCache } from "./cache/write-cache.ts";
import type { SluiceError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { RestoreTarget } from "./page-writer.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** What stands at the database's path before Sluice opens it. */
export type LocalFile =
  /** Missing, empty, or its first page all zeros (a restore that did not end). */
  | "absent"
  /** Anything else: whether it is a database is for SQLite to say. */
  | "present";

/** What the portable core asks of Node or the browser, for one database. */
export interface Platform {
  readonly sqlite3: Sqlite3Static;
  /** Name of the registered base VFS, and of the shim over it. */
  readonly baseVfs: string;
  readonly shimName: string;
  /** The database as the base VFS spells it. */
  readonly dbPath: string;
  /** One form for all spellings that the base takes for one file. */
  readonly canonicalPath: (path: string) => string;
  readonly codecs: Codecs;
  readonly cache: WriteCache;
  readonly clock: Clock;

  inspect(): LocalFile;
  /** Tells two states of the main file apart without reading all of it; null where there is none. */
  fingerprint(): string | null;
  /**
   * Sees to it that a program which writes without Sluice from now on changes the fingerprint; no such method where every write
   * does. The database is closed.
   */
  seal?(): void;
  /** Prepares a place for a restored database. Existing files are not touched before its `finish`. */
  restoreTarget(): DatabaseTarget;
  /** Why the database could not be opened, where SQLite's own answer does not say; null where it does. */
  explainOpenFailure?(): SluiceError | null;
  /** Whether the file operation that just failed did for want of room, where the base VFS does not say so itself. */
  isFull?(): boolean;
  /** Most of a sync of a file of the base VFS, beside the calling thread. What fails shows at the sync itself. */
  syncBeside?(path: string): Promise<void>;
  /** Replication has ended, but not the application's connections: `release` comes soon after the last one is closed. */
  outlived?(connected: () => boolean): void;
  /** Gives up the locks. The last call. */
  release(): Promise<void>;
}

/** Where a database is restored to. */
export interface DatabaseTarget extends RestoreTarget {
  /** What is written, as a path of the base VFS, for looking at it before `finish`. */
  readonly path: string;
}

/** Time, so that tests can have their own. */
export interface Clock {
  /** Milliseconds since 1970. Never goes back. */
  now(): number;
  /** For what is safe only for some time: counts while the machine sleeps, whatever its clock is set to. */
  stopwatch(): Stopwatch;
  /** Calls back once after `ms` milliseconds. A timer that is not `holding` lets a Node process end. */
  after(ms: number, holding: boolean, callback: () => void): { cancel(): void };
  /** Lets the event loop take a turn. */
  turn(): Promise<void>;
}
