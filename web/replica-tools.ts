import { load } from "../src/load.ts";
import { type ReplicaTools, replicaTools } from "../src/replica-tools.ts";

const tools = /* @__PURE__ */ replicaTools(async () => {
  const [{ loadCodecs }, { systemClock }] = await load(() =>
    Promise.all([import("./compression.ts"), import("./clock.ts")]),
  );
  return { codecs: await loadCodecs(), clock: systemClock };
});

export const compactReplica: ReplicaTools["compactReplica"] = (store, options) =>
  tools.compactReplica(store, options);
export const pruneReplica: ReplicaTools["pruneReplica"] = (store, options) =>
  tools.pruneReplica(store, options);
