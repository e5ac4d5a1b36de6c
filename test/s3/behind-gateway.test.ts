import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { s3Runtime } from "../../node/s3-runtime.ts";
import { createGatewayOver } from "../../src/gateway/gateway.ts";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { byName, type Listening, listen } from "../gateway/listen.ts";
import { bytes, objectStoreSuite } from "../suites/object-store.ts";
import { freshBucket, server } from "./server.ts";

describe.skipIf(server === null)("a real S3 server behind a gateway", () => {
  let gateway: Listening;
  let stores = 0;
  beforeAll(async () => {
    const store = new S3Store(await freshBucket(), s3Runtime);
    gateway = await listen(
      createGatewayOver({ store, authorize: byName, partBytes: 1024 * 1024 }, () => true),
    );
  });
  afterAll(() => gateway?.close());

  const storeFor = (name: string) =>
    new GatewayStore(gateway.url, { headers: () => ({ authorization: `Bearer ${name}` }) });
  objectStoreSuite("GatewayStore over an S3Store", async () => storeFor(`caller-${stores++}`), {
    manyKeys: 20,
  });

  test("of two that create one object in many parts one wins", async () => {
    const size = 12 * 1024 * 1024 + 1;
    const store = storeFor(`caller-${stores++}`);
    const outcomes = await Promise.allSettled(
      [1, 2].map((seed) => store.put("key", bytes(size, seed), { ifNoneMatch: "*" })),
    );
    const won = outcomes.findIndex(({ status }) => status === "fulfilled");
    const [lost] = outcomes.filter(({ status }) => status === "rejected");
    expect(lost).toMatchObject({ reason: { kind: "precondition-failed" } });
    const stored = Buffer.from(await collect((await store.get("key")).body, size));
    expect(stored.equals(bytes(size, won + 1))).toBe(true);
  });
});
