import type { Codecs } from "./format/codecs.ts";
import type { CompactOptions, CompactReport, PruneOptions, PruneReport } from "./housekeeping.ts";
import { loadHousekeeping } from "./load.ts";
import type { Clock } from "./platform.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** What works on a replica alone, without a database. */
export interface ReplicaTools {
  /**
   * Merges each 16 neighbouring segments of a replica into one of the next level. The writer does it by itself, unless
   * `compaction` is off. Any process may, at any time, several at once. Resolves to null where no replica is.
   * @throws StoreError, BrokenReplicaError, UnsupportedFormatError, the signal's reason.
   */
  compactReplica(store: ObjectStore, options?: CompactOptions): Promise<CompactReport | null>;
  /**
   * Deletes what retention does not keep. The writer does it by itself: give its `retentionSecs` and `fineRetentionSecs`.
   * Resolves to null where no replica is.
   * @throws ConfigError, StoreError, BrokenReplicaError, UnsupportedFormatError, the signal's reason.
   */
  pruneReplica(store: ObjectStore, options?: PruneOptions): Promise<PruneReport | null>;
}

/** What the tools take from Node or the browser. */
export interface ToolsWorld {
  readonly codecs: Codecs;
  readonly clock: Clock;
}

/** The tools of one world. Each loads its code when it is first used. */
export function replicaTools(loadWorld: () => Promise<ToolsWorld>): ReplicaTools {
  return {
    async compactReplica(store, options = {}) {
      const { compact } = await loadHousekeeping();
      const { codecs, clock } = await loadWorld();
      return compact(store, codecs, clock, options);
    },
    async pruneReplica(store, options = {}) {
      const { pruneReplica } = await loadHousekeeping();
      const { codecs, clock } = await loadWorld();
      return pruneReplica(store, codecs, clock, options);
    },
  };
}
