// What both entries export besides their own SqliteReplicator.
export type { CacheEntry } from "./cache/write-cache.ts";
export type { CompactProgress } from "./compact.ts";
export type { CommonConfig, Logger, RestoreOptions, WaitOptions } from "./config.ts";
export * from "./errors.ts";
export type {
  AuditEvent,
  CacheOverflowEvent,
  ReplicatorEvent,
  ReplicatorEvents,
  ResyncEvent,
  SnapshotEvent,
  SnapshotProgressEvent,
  UploadEvent,
  WalEvent,
} from "./events.ts";
export type { Position } from "./format/position.ts";
export type { CompactOptions, CompactReport, PruneOptions, PruneReport } from "./housekeeping.ts";
export type { PruneProgress } from "./prune.ts";
export type { RestoreProgress } from "./restore.ts";
export type { RestoreOutcome } from "./restore-database.ts";
export type { ReplicationStatus } from "./status.ts";
export type { GatewayConfig } from "./store/gateway-config.ts";
export { MemoryStore } from "./store/memory-store.ts";
export type {
  GetOptions,
  GetResult,
  ListOptions,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
  StoreOptions,
} from "./store/object-store.ts";
export type { ReplicaLocation, S3Options } from "./store/replica-location.ts";
export type { S3CredentialProvider, S3Credentials, S3StoreConfig } from "./store/s3-config.ts";
export type { ReplicationMetadata } from "./take-snapshot.ts";
export type { Finding, Problem, VerifyOptions, VerifyProgress, VerifyReport } from "./verify-report.ts";
