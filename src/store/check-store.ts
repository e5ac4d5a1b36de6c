import { ConfigError } from "../errors.ts";
import type { ObjectStore } from "./object-store.ts";

/** All that an ObjectStore does. */
const methods = [
  "put",
  "putStream",
  "get",
  "list",
  "delete",
  "capabilities",
] as const satisfies readonly (keyof ObjectStore)[];

/** Refuses what lacks a method, and not only when that is first needed. */
export function checkStore(field: string, store: ObjectStore): ObjectStore {
  const missing = methods.find((method) => typeof store[method] !== "function");
  if (missing === undefined) return store;
  const promised = "then" in store ? ". It is a promise: await it" : "";
  throw new ConfigError(field, `is no ObjectStore, it lacks ${missing}()${promised}`);
}
