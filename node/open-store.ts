import { checkString, refuseUnknown } from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import { parseS3Url, type S3StoreConfig } from "../src/store/s3-config.ts";
import { S3Store } from "../src/store/s3-store.ts";
import { DirectoryStore } from "./directory-store.ts";
import { s3Runtime } from "./s3-runtime.ts";

/** How to reach S3, beside the bucket and prefix that the replica's URL names. */
export type S3Options = Omit<S3StoreConfig, "bucket" | "prefix">;

/** Where a replica lives: its URL, a store, or a bucket and a prefix. */
export interface ReplicaLocation {
  readonly replica?: string | ObjectStore;
  readonly s3Bucket?: string;
  readonly s3Prefix?: string;
  readonly s3?: S3Options;
}

const s3Fields = ["region", "endpoint", "credentials", "forcePathStyle"];

/** The store at a location. Makes no request. Throws ConfigError. */
export function openStore({ replica, s3Bucket, s3Prefix, s3 }: ReplicaLocation): ObjectStore {
  if (s3 !== undefined) refuseUnknown(s3, s3Fields, "s3");
  if (s3Bucket !== undefined) {
    if (replica !== undefined)
      throw new ConfigError("s3Bucket", "and replica are two ways to say the same; give one");
    return new S3Store(
      { ...s3, bucket: s3Bucket, ...(s3Prefix !== undefined && { prefix: s3Prefix }) },
      s3Runtime,
    );
  }
  if (s3Prefix !== undefined) throw new ConfigError("s3Prefix", "needs s3Bucket");
  if (typeof replica === "string" && /^s3:/i.test(replica)) return openS3(replica, s3);
  if (s3 !== undefined) throw new ConfigError("s3", "is for a replica in S3 only");
  if (typeof replica === "object" && replica !== null) return replica;
  const url = checkString("replica", replica);
  if (/^file:/i.test(url)) return new DirectoryStore(url);
  throw new ConfigError("replica", "must begin with s3:// or file:///, or be an ObjectStore");
}

function openS3(url: string, s3: S3Options = {}): ObjectStore {
  const fromUrl = parseS3Url(url);
  for (const field of Object.keys(s3))
    if (field in fromUrl) throw new ConfigError(`s3.${field}`, "is also in the replica's URL; give it once");
  return new S3Store({ ...fromUrl, ...s3 }, s3Runtime);
}
