export * from "../src/public.ts";
export { compactReplica, pruneReplica } from "./replica-tools.ts";
export { SqliteReplicator, type SqliteReplicatorConfig, type WebReplicationStatus } from "./replicator.ts";
export type { StorageStatus } from "./storage.ts";
export { verifyReplica } from "./verify.ts";
