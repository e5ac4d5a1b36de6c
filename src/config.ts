import type { RestorePoint } from "./choose-plan.ts";
import { ConfigError } from "./errors.ts";
import { LEVEL0_STAYS_MS } from "./level0-stays.ts";
import type { RestoreProgress } from "./restore.ts";

/** Where log lines go. Each method is optional. */
export interface Logger {
  info?(message: string): void;
  warn?(message: string): void;
  error?(message: string): void;
}

/** What both worlds configure. Node and the browser add their own fields. */
export interface CommonConfig {
  /** Restore at `start` when there is no local database. Default true. */
  readonly autoRestore?: boolean;
  /**
   * What to do where a database and a replica exist and nothing proves which is newer, also after another writer took
   * over: refuse (default), put the replica's state in place of the local one, or append the local state to the replica.
   */
  readonly onUnknownLocal?: "error" | "adopt-local" | "adopt-remote";
  /** Seconds between snapshots while something changes; 0: only the first and when segments outweigh it. Default 3600. */
  readonly snapshotIntervalSecs?: number;
  /** Merge uploaded segments into larger ones, so that a restore reads tens of objects and not thousands. Default true. */
  readonly compaction?: boolean;
  /** Seconds of history that stay restorable; 0: nothing is ever deleted. At least 6 hours. Default 7 days. */
  readonly retentionSecs?: number;
  /**
   * Seconds of history of which every segment stays; older history has the grain of 16 segments. 0: all of `retentionSecs`.
   * At least 6 hours. Default 1 day.
   */
  readonly fineRetentionSecs?: number;
  /** Bytes that the write cache may hold while the store cannot be reached. Default 100 MiB. */
  readonly maxCacheSize?: number;
  /** Milliseconds from a commit until it is in the cache, at most. Default 1000. */
  readonly syncIntervalMs?: number;
  /** Milliseconds from the beginning of one upload to that of the next, at least. Default 1000. */
  readonly uploadIntervalMs?: number;
  /** WAL frames after which the replicator checkpoints. Default 1000. */
  readonly checkpointPages?: number;
  /** Milliseconds that `stop` waits for the last uploads. Default 30000. */
  readonly stopTimeoutMs?: number;
  /** Ends the wait for locks and the restore of `start`. */
  readonly signal?: AbortSignal;
  readonly logger?: Logger;
}

/** The common fields with their defaults, checked. */
export interface Settings {
  readonly autoRestore: boolean;
  readonly onUnknownLocal: "error" | "adopt-local" | "adopt-remote";
  readonly snapshotIntervalSecs: number;
  readonly compaction: boolean;
  readonly retention: Retention | null;
  readonly maxCacheSize: number;
  readonly syncIntervalMs: number;
  readonly uploadIntervalMs: number;
  readonly checkpointPages: number;
  readonly stopTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly logger: Logger;
}

/** Options of `restore`. */
export interface RestoreOptions {
  /** Restore the last state at or before this transaction, not the newest. Not together with `timestamp`. */
  readonly txid?: number;
  /**
   * Restore the last state committed at or before this time: a Date, milliseconds since 1970, or ISO 8601 with a zone
   * ("2026-03-01T12:00:00Z").
   */
  readonly timestamp?: Date | number | string;
  /** Replace an existing database. Default false. */
  readonly overwrite?: boolean;
  /** What SQLite checks before the restored database is put in place. Default "quick". */
  readonly integrityCheck?: "quick" | "full" | "none";
  readonly onProgress?: (progress: RestoreProgress) => void;
  readonly signal?: AbortSignal;
}

/** The largest delay that timers take, milliseconds. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** `defaults`: where they differ from those that the fields state. */
export function checkSettings(
  config: CommonConfig,
  defaults: Partial<Record<keyof CommonConfig, number>> = {},
): Settings {
  const delay = (field: keyof CommonConfig, fallback: number, min = 0, max = MAX_DELAY_MS) =>
    checkNumber(field, config[field], defaults[field] ?? fallback, min, max);
  return {
    autoRestore: checkBoolean("autoRestore", config.autoRestore, true),
    onUnknownLocal: checkChoice("onUnknownLocal", config.onUnknownLocal, [
      "error",
      "adopt-local",
      "adopt-remote",
    ]),
    snapshotIntervalSecs: delay("snapshotIntervalSecs", 3600, 0, MAX_DELAY_MS / 1000),
    compaction: checkBoolean("compaction", config.compaction, true),
    retention: checkRetention(config.retentionSecs, config.fineRetentionSecs),
    maxCacheSize: delay("maxCacheSize", 100 << 20, 1 << 16, Number.MAX_SAFE_INTEGER),
    syncIntervalMs: delay("syncIntervalMs", 1000, 1),
    uploadIntervalMs: delay("uploadIntervalMs", 1000),
    checkpointPages: delay("checkpointPages", 1000, 1),
    stopTimeoutMs: delay("stopTimeoutMs", 30_000),
    signal: checkSignal("signal", config.signal),
    logger: checkObject("logger", config.logger) ?? {},
  };
}

/** How long history stays, milliseconds; infinity: as long as there is any. */
export interface Retention {
  readonly retentionMs: number;
  readonly fineRetentionMs: number;
}

/** Throws ConfigError. Null: everything stays. */
export function checkRetention(retentionSecs: unknown, fineRetentionSecs: unknown): Retention | null {
  const least = LEVEL0_STAYS_MS / 1000;
  const secs = (field: string, value: unknown, fallback: number) => {
    const checked = checkNumber(field, value, fallback, 0, Number.MAX_SAFE_INTEGER);
    if (checked > 0 && checked < least)
      throw new ConfigError(field, `must be at least ${least} (6 hours), or 0 to keep everything`);
    return checked === 0 ? Number.POSITIVE_INFINITY : checked * 1000;
  };
  const retentionMs = secs("retentionSecs", retentionSecs, 7 * 86400);
  const fineMs = secs("fineRetentionSecs", fineRetentionSecs, Math.min(86400, retentionMs / 1000));
  if (Number.isFinite(fineMs) && fineMs > retentionMs)
    throw new ConfigError("fineRetentionSecs", "must not be more than retentionSecs");
  return Number.isFinite(retentionMs)
    ? { retentionMs, fineRetentionMs: Math.min(fineMs, retentionMs) }
    : null;
}

export function checkSignal(field: string, signal: AbortSignal | undefined): AbortSignal | undefined {
  // By its shape: one of another realm is one too.
  if (signal === undefined || typeof signal?.throwIfAborted === "function") return signal;
  throw new ConfigError(field, "must be an AbortSignal");
}

export function checkObject<T extends object>(field: string, value: T | undefined): T | undefined {
  if (value === undefined || (typeof value === "object" && value !== null)) return value;
  throw new ConfigError(field, "must be an object");
}

/** Refuses fields that nothing reads, so that a misspelt one is not silently without effect. */
export function refuseUnknown(config: object, known: readonly string[], what: string): void {
  if (typeof config !== "object" || config === null) throw new ConfigError(what, "must be an object");
  for (const field of Object.keys(config))
    if (!known.includes(field))
      throw new ConfigError(field, `is not a field of ${what}. Known: ${known.join(", ")}`);
}

export const commonFields = [
  "autoRestore",
  "onUnknownLocal",
  "snapshotIntervalSecs",
  "compaction",
  "retentionSecs",
  "fineRetentionSecs",
  "maxCacheSize",
  "syncIntervalMs",
  "uploadIntervalMs",
  "checkpointPages",
  "stopTimeoutMs",
  "signal",
  "logger",
] as const satisfies readonly (keyof CommonConfig)[];

export const restoreFields = [
  "txid",
  "timestamp",
  "overwrite",
  "integrityCheck",
  "onProgress",
  "signal",
] as const satisfies readonly (keyof RestoreOptions)[];

export function checkString(field: string, value: unknown): string {
  if (typeof value !== "string" || value === "") throw new ConfigError(field, "must be a non-empty string");
  return value;
}

export function checkBoolean(field: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== "boolean") throw new ConfigError(field, "must be true or false");
  return value;
}

/** One of `choices`, the first by default. */
export function checkChoice<T extends string>(
  field: string,
  value: T | undefined,
  choices: readonly [T, ...T[]],
): T {
  if (value === undefined) return choices[0];
  if (!choices.includes(value)) throw new ConfigError(field, `must be one of ${choices.join(", ")}`);
  return value;
}

export function checkNumber(
  field: string,
  value: unknown,
  fallback: number,
  min: number,
  max: number,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max)
    throw new ConfigError(field, `must be a number from ${min} to ${Math.floor(max)}`);
  return value;
}

export function checkRestoreOptions(
  options: RestoreOptions,
): Required<Pick<RestoreOptions, "overwrite" | "integrityCheck">> & { readonly point: RestorePoint } {
  refuseUnknown(options, restoreFields, "restore options");
  checkSignal("signal", options.signal);
  checkOnProgress(options.onProgress);
  const integrityCheck = checkChoice("integrityCheck", options.integrityCheck, ["quick", "full", "none"]);
  const overwrite = checkBoolean("overwrite", options.overwrite, false);
  return { overwrite, integrityCheck, point: checkPoint(options) };
}

function checkOnProgress(onProgress: unknown): void {
  if (onProgress !== undefined && typeof onProgress !== "function")
    throw new ConfigError("onProgress", "must be a function");
}

function checkPoint({ txid, timestamp }: RestoreOptions): RestorePoint {
  if (timestamp !== undefined) {
    if (txid !== undefined) throw new ConfigError("timestamp", "cannot be given together with txid");
    return { timestamp: checkTime("timestamp", timestamp) };
  }
  return txid === undefined ? "latest" : { txid: checkTxid(txid) };
}

function checkTxid(txid: number): number {
  if (Number.isSafeInteger(txid) && txid >= 0) return txid;
  throw new ConfigError("txid", "must be the number of a transaction, from 0");
}

/** Options of `start`, which would hand them on to a restore without a word. */
export function checkStartOptions(options: Pick<RestoreOptions, "onProgress">): void {
  refuseUnknown(options, ["onProgress"] satisfies (keyof RestoreOptions)[], "start options");
  checkOnProgress(options.onProgress);
}

/** What to wait for. */
export interface WaitOptions {
  /** The transaction to wait for. Default of `waitUntilUploaded`: the last one committed so far. `waitFor` needs one. */
  readonly txid?: number;
  readonly signal?: AbortSignal;
}

/** `method` takes them. */
export function checkWaitOptions(options: WaitOptions, method: string): void {
  refuseUnknown(options, ["txid", "signal"] satisfies (keyof WaitOptions)[], `${method} options`);
  if (options.txid !== undefined) checkTxid(options.txid);
  checkSignal("signal", options.signal);
}

/** A point in time, milliseconds since 1970. */
export function checkTime(field: string, value: unknown): number {
  const ms = value instanceof Date ? value.getTime() : typeof value === "string" ? parseTime(value) : value;
  // The range of Date.
  if (typeof ms === "number" && Math.abs(ms) <= 8.64e15) return ms;
  const given = typeof value === "string" ? `${JSON.stringify(value)} is no time with a zone; it` : "it";
  throw new ConfigError(
    field,
    `${given} must be a Date, milliseconds since 1970, or ISO 8601 with a zone, such as 2026-03-01T12:00:00Z or ` +
      "2026-03-01T13:00:00+01:00",
  );
}

/** NaN for anything but a date and time of day with a zone: without one it would depend on the machine what is meant. */
function parseTime(text: string): number {
  const parts = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/.exec(text);
  if (parts === null) return Number.NaN;
  // Date makes March of the 30th of February.
  const day = new Date(`${parts[1]}T00:00:00Z`);
  const exists = !Number.isNaN(day.getTime()) && day.toISOString().startsWith(parts[1]!);
  return exists ? Date.parse(text) : Number.NaN;
}
