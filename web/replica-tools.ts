import { replicaTools } from "../src/replica-tools.ts";
import { systemClock } from "./clock.ts";
import { loadCodecs } from "./compression.ts";

export const { compactReplica, pruneReplica } = /* @__PURE__ */ replicaTools(loadCodecs, systemClock);
