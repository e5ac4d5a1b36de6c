// Merging and retention, as one chunk.
export { Housekeeper } from "./housekeeper.ts";
export { compact, pruneReplica } from "./housekeeping.ts";
