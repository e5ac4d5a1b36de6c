import { afterAll, beforeAll, describe } from "vitest";
import { s3Runtime } from "../../node/s3-runtime.ts";
import type { S3StoreConfig } from "../../src/store/s3-config.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { objectStoreSuite } from "../suites/object-store.ts";
import { type SpoilingProxy, startProxy } from "./proxy.ts";
import { freshBucket, server } from "./server.ts";

describe.skipIf(server === null)("a real S3 server", () => {
  let bucket: S3StoreConfig;
  let ignoring: SpoilingProxy;
  let stores = 0;
  beforeAll(async () => {
    const { endpoint, credentials, ...rest } = await freshBucket();
    bucket = { ...rest, endpoint, credentials };
    ignoring = await startProxy(endpoint, { strip: { header: "if-none-match", ...credentials } });
  });
  afterAll(() => ignoring?.close());

  const storeAt = (endpoint: string) =>
    new S3Store({ ...bucket, endpoint, prefix: `s${stores++}` }, s3Runtime);
  objectStoreSuite("S3Store", async () => storeAt(bucket.endpoint ?? ""));
  objectStoreSuite("S3Store where conditions are ignored", async () => storeAt(ignoring.endpoint), {
    manyKeys: 20,
  });
});
