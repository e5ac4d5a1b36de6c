import type { ObjectStore } from "../src/store/object-store.ts";
import { openLocation, type ReplicaLocation } from "../src/store/replica-location.ts";
import { DirectoryStore } from "./directory-store.ts";
import { s3Runtime } from "./s3-runtime.ts";

/** The store at a location. Makes no request. Rejects with ConfigError. */
export function openStore(location: ReplicaLocation): Promise<ObjectStore> {
  return openLocation(location, {
    s3Runtime,
    names: "s3://, https:// or file:///",
    openOther: (url) => (/^file:/i.test(url) ? new DirectoryStore(url) : null),
  });
}
