// What keeps a replica in shape beside the commits themselves, as one chunk: a replica that needs one of these soon needs
// another, and each request costs more than the bytes.

export { claimReplica } from "./claim.ts";
export { giveUp } from "./give-up.ts";
export { mergeBacklog } from "./merge-backlog.ts";
export { findNewestSnapshot } from "./newest-snapshot.ts";
export { endOfReplica, requireNoOther, requireOwnEnd, requireTail } from "./own-end.ts";
export { repack } from "./repack.ts";
export { resync } from "./resync.ts";
export { readResyncBase } from "./resync-base.ts";
export { shrinkCache } from "./shrink-cache.ts";
export { takeSnapshot, writeMetadata } from "./take-snapshot.ts";
export { findOurs } from "./taken-key.ts";
export { verifyLocal } from "./verify-local.ts";
