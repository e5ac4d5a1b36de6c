import { checkString, refuseUnknown } from "../config.ts";
import { ConfigError } from "../errors.ts";
import { load } from "../load.ts";
import { checkStore } from "./check-store.ts";
import type { GatewayConfig } from "./gateway-config.ts";
import type { ObjectStore } from "./object-store.ts";
import type { S3StoreConfig } from "./s3-config.ts";
import type { S3Runtime } from "./s3-sdk.ts";

/** How to reach S3, beside the bucket and prefix that the replica's URL names. */
export type S3Options = Omit<S3StoreConfig, "bucket" | "prefix">;

/** Where a replica lives: its URL, a store, or a bucket and a prefix. */
export interface ReplicaLocation {
  readonly replica?: string | ObjectStore;
  readonly s3Bucket?: string;
  readonly s3Prefix?: string;
  readonly s3?: S3Options;
  readonly gateway?: GatewayConfig;
}

export const locationFields = [
  "replica",
  "s3Bucket",
  "s3Prefix",
  "s3",
  "gateway",
] as const satisfies readonly (keyof ReplicaLocation)[];

const s3Fields = ["region", "endpoint", "credentials", "forcePathStyle"];
const gatewayFields = ["headers", "credentials"];

/** What a platform has beside what all have. */
export interface StoreSchemes {
  readonly s3Runtime: S3Runtime;
  /** For error messages: what a replica's URL may begin with. */
  readonly names: string;
  /** The store at a URL of another scheme; null where there is none. */
  readonly openOther: (url: string) => ObjectStore | null;
}

/** The store at a location, whose code is loaded only when it is used. Makes no request to it. Throws ConfigError. */
export async function openLocation(location: ReplicaLocation, schemes: StoreSchemes): Promise<ObjectStore> {
  const { replica, s3Bucket, s3Prefix, s3, gateway } = location;
  if (s3 !== undefined) refuseUnknown(s3, s3Fields, "s3");
  if (gateway !== undefined) refuseUnknown(gateway, gatewayFields, "gateway");
  if (typeof replica === "string" && /^https?:/i.test(replica)) {
    for (const [field, value] of Object.entries({ s3Bucket, s3Prefix, s3 }))
      if (value !== undefined) throw new ConfigError(field, "is for a replica in S3 only");
    const { GatewayStore } = await load(() => import("./gateway-store.ts"));
    return new GatewayStore(replica, gateway);
  }
  if (gateway !== undefined) throw new ConfigError("gateway", "is for a replica at https:// only");
  if (s3Bucket !== undefined) {
    if (replica !== undefined)
      throw new ConfigError("s3Bucket", "and replica are two ways to say the same; give one");
    const prefix = s3Prefix === undefined ? {} : { prefix: s3Prefix };
    const { S3Store } = await load(() => import("./s3-store.ts"));
    return new S3Store({ ...s3, bucket: s3Bucket, ...prefix }, schemes.s3Runtime);
  }
  if (s3Prefix !== undefined) throw new ConfigError("s3Prefix", "needs s3Bucket");
  if (typeof replica === "string" && /^s3:/i.test(replica)) return openS3(replica, s3, schemes.s3Runtime);
  if (s3 !== undefined) throw new ConfigError("s3", "is for a replica in S3 only");
  if (typeof replica === "object" && replica !== null) return checkStore("replica", replica);
  const store = schemes.openOther(checkString("replica", replica));
  if (store !== null) return store;
  throw new ConfigError("replica", `must begin with ${schemes.names}, or be an ObjectStore`);
}

async function openS3(url: string, s3: S3Options = {}, runtime: S3Runtime): Promise<ObjectStore> {
  const [{ parseS3Url }, { S3Store }] = await load(() =>
    Promise.all([import("./s3-config.ts"), import("./s3-store.ts")]),
  );
  const fromUrl = parseS3Url(url);
  for (const field of Object.keys(s3))
    if (field in fromUrl) throw new ConfigError(`s3.${field}`, "is also in the replica's URL; give it once");
  return new S3Store({ ...fromUrl, ...s3 }, runtime);
}
