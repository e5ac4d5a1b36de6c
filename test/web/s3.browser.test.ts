import { afterAll, beforeAll, describe, expect, inject } from "vitest";
import { commands } from "vitest/browser";
import type { S3Server } from "../s3/ceph.ts";
import { CORS_RULE } from "../s3/cors-rule.ts";
import { objectStoreSuite } from "../suites/object-store.ts";
import { StoreWorker } from "./worker-store.ts";

const server = inject("s3");

describe.skipIf(server === null)("a real S3 server, from a dedicated worker", () => {
  const { endpoint, region, accessKeyId, secretAccessKey } = server as S3Server;
  const worker = new StoreWorker();
  let bucket = "";
  let stores = 0;
  beforeAll(async () => {
    bucket = await commands.makeBucket(server as S3Server, CORS_RULE);
  });
  afterAll(() => worker.end());

  objectStoreSuite("S3Store in a worker", async () => {
    const credentials = { accessKeyId, secretAccessKey };
    const prefix = `s${stores++}`;
    const store = await worker.open({ bucket, prefix, region, endpoint, credentials });
    expect(store.hasDom).toBe(false);
    return store;
  });
});
