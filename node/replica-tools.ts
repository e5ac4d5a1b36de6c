import { type ReplicaTools, replicaTools } from "../src/replica-tools.ts";
import { systemClock } from "./clock.ts";
import { loadCodecs } from "./compression.ts";

const tools = /* @__PURE__ */ replicaTools(async () => ({ codecs: await loadCodecs(), clock: systemClock }));

export const compactReplica: ReplicaTools["compactReplica"] = (store, options) =>
  tools.compactReplica(store, options);
export const pruneReplica: ReplicaTools["pruneReplica"] = (store, options) =>
  tools.pruneReplica(store, options);
