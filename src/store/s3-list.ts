import { StoreError } from "../errors.ts";
import type { IdleWatch } from "./idle-watch.ts";
import { checkKey, type ListOptions, type ObjectInfo } from "./object-store.ts";
import type { S3Settings } from "./s3-config.ts";
import type { S3Connection } from "./s3-connection.ts";
import type { S3ListOutput, S3Sdk } from "./s3-sdk.ts";

/** Lists by pages of 1,000. Foreign objects under the prefix whose keys would not be legal here are passed over. */
export async function* listObjects(
  connection: S3Connection,
  settings: S3Settings,
  watchRequest: () => IdleWatch,
  prefix: string,
  { startAfter, signal }: ListOptions,
): AsyncGenerator<ObjectInfo, void, undefined> {
  signal?.throwIfAborted();
  // No key has them, and no request can carry them.
  if (/\0|\p{Surrogate}/u.test(prefix)) return;
  let token: string | undefined;
  do {
    const input = {
      Bucket: settings.bucket,
      Prefix: settings.prefix + prefix,
      // XML has no place for control characters.
      EncodingType: "url" as const,
      ...(startAfter === undefined || startAfter === "" ? {} : { StartAfter: settings.prefix + startAfter }),
      ...(token === undefined ? {} : { ContinuationToken: token }),
    };
    const watch = watchRequest();
    const make = (sdk: S3Sdk) => new sdk.ListObjectsV2Command(input);
    const page = await connection
      .send<S3ListOutput>(make, { operation: "ListObjectsV2" }, watch)
      .finally(() => watch.end());
    const now = connection.storeTime();
    for (const { Key = "", Size = 0, LastModified } of page.Contents ?? []) {
      const whole = page.EncodingType === "url" ? decodeKey(Key) : Key;
      if (whole === null || !whole.startsWith(settings.prefix)) continue;
      const key = whole.slice(settings.prefix.length);
      if (!isLegal(key)) continue;
      const lastModified = LastModified?.getTime() ?? now;
      yield { key, size: Size, lastModified, age: Math.max(0, now - lastModified) };
      signal?.throwIfAborted();
    }
    const next = page.NextContinuationToken;
    if ((page.IsTruncated === true && next === undefined) || (next !== undefined && next === token)) {
      throw new StoreError(
        "unavailable",
        "ListObjectsV2: the store cut a listing short without saying how it goes on",
      );
    }
    token = next;
  } while (token !== undefined);
}

/** S3 encodes as forms do, with + for a space. Null where it is not UTF-8: nobody could ask for that object. */
function decodeKey(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded.replaceAll("+", " "));
  } catch {
    return null;
  }
}

function isLegal(key: string): boolean {
  try {
    checkKey(key);
    return true;
  } catch {
    return false;
  }
}
