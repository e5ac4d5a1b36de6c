import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { commands } from "vitest/browser";
import type { StoreErrorKind } from "../../src/errors.ts";
import { collect, type ObjectStore } from "../../src/store/object-store.ts";
import type { S3StoreConfig } from "../../src/store/s3-config.ts";
import type { S3Server } from "../s3/ceph.ts";
import { CORS_RULE } from "../s3/cors-rule.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { StoreWorker } from "./worker-store.ts";

const server = inject("s3");
const MIB = 1024 * 1024;

describe.skipIf(server === null)("S3 from a dedicated worker", () => {
  const there = server as S3Server;
  const worker = new StoreWorker();
  let bucket = "";
  beforeAll(async () => {
    bucket = await commands.makeBucket(there, CORS_RULE);
  });
  afterAll(async () => {
    worker.end();
    await commands.stopServers();
  });

  const open = (change: Partial<S3StoreConfig> = {}): Promise<ObjectStore> => {
    const { endpoint, region, accessKeyId, secretAccessKey } = there;
    const credentials = { accessKeyId, secretAccessKey };
    return worker.open({ bucket, prefix: crypto.randomUUID(), endpoint, region, credentials, ...change });
  };
  async function expectEachKind(store: ObjectStore, kind: StoreErrorKind): Promise<void> {
    await expectKind(store.put("key", bytes(10)), kind);
    await expectKind(store.put("key", bytes(10), { ifNoneMatch: "*" }), kind);
    await expectKind(store.putStream("key", blocks(9)), kind);
    await expectKind(store.get("key"), kind);
    await expectKind(keys(store), kind);
    await expectKind(store.delete(["key"]), kind);
  }

  describe("is refused by its kind, as from Node", () => {
    test.each([
      ["keys that nobody has", () => ({ accessKeyId: "SLUICENOBODY00000001", secretAccessKey: "wrong" })],
      ["a wrong secret", () => ({ accessKeyId: there.accessKeyId, secretAccessKey: "wrong" })],
    ])("%s", async (_, credentials) => {
      const endpoint = await commands.startPeculiar(there, "shows refusals");
      await expectEachKind(await open({ endpoint, credentials: credentials() }), "access-denied");
      // A page cannot see what Ceph itself answers to them.
      await expectEachKind(await open({ credentials: credentials() }), "network");
    });

    test.each(["credentials", "region"])("no %s, which a browser does not find by itself", async (field) => {
      const all = { bucket, region: "eu-central-1", credentials: { accessKeyId: "a", secretAccessKey: "b" } };
      const opened = worker.open({ ...all, [field]: undefined });
      await expect(opened).rejects.toMatchObject({ code: "SLUICE_CONFIG", field });
    });

    test("no such bucket, which has no CORS rules either", async () => {
      const store = await open({ bucket: "sluice-none" });
      await expectEachKind(store, "network");
    });
  });

  test("an upload of five parts, and 20 MiB of known size in one request", async () => {
    const store = await open();
    await store.putStream("parts", blocks(33));
    await store.put("whole", { size: 20 * MIB, chunks: () => blocks(20) });
    for (const [key, count] of [
      ["parts", 33],
      ["whole", 20],
    ] as const) {
      const { size, body } = await store.get(key);
      expect(size).toBe(count * MIB);
      const read = await collect(body, size);
      for (let i = 0; i < count; i++) expect([read[i * MIB], read[(i + 1) * MIB - 1]]).toEqual([i, i]);
    }
    expect(await commands.openUploads(there, bucket)).toEqual([]);
  });

  test("an object is read from the store, not from what the browser keeps", async () => {
    const store = await open({ prefix: "kept/" });
    for (const text of ["before", "after"]) {
      await commands.putCacheable(there, bucket, "kept/key", text);
      expect(new TextDecoder().decode(await collect((await store.get("key")).body, 10))).toBe(text);
    }
  });

  describe("temporary credentials", () => {
    test("withdrawn in the middle of an upload are asked for again, and it goes on", async () => {
      const [first, second] = [await commands.makeKeys(there), await commands.makeKeys(there)];
      const provider = vi.fn(async () => (provider.mock.calls.length === 1 ? first : second));
      const store = await open({ credentials: provider });
      const source = async function* () {
        yield* blocks(20);
        expect(provider).toHaveBeenCalledTimes(1);
        await commands.removeKeys(there, first.accessKeyId);
        yield* blocks(20);
      };
      await store.putStream("key", source());
      expect(provider).toHaveBeenCalledTimes(2);
      expect((await store.get("key")).size).toBe(40 * MIB);
      expect(await commands.openUploads(there, bucket)).toEqual([]);
    });

    test("of a session, with its token and README's least policy, are enough", async () => {
      const session = await commands.startSession(there, bucket);
      const store = await open({ ...session, prefix: "app/" });
      expect(await store.capabilities()).toEqual({ conditionalCreate: "atomic" });
      await store.put("a", bytes(10), { ifNoneMatch: "*" });
      await expectKind(store.put("a", bytes(10), { ifNoneMatch: "*" }), "precondition-failed");
      await store.putStream("large", blocks(20));
      expect((await store.get("large")).size).toBe(20 * MIB);
      await store.delete(["a", "large", ".sluice-probe"]);
      expect(await keys(store)).toEqual([]);
      await expectKind((await open({ ...session, prefix: "other/" })).put("a", bytes(1)), "access-denied");
    });

    test("past their time are not used", async () => {
      const { accessKeyId, secretAccessKey } = there;
      const provider = vi.fn(async () => ({
        accessKeyId,
        secretAccessKey,
        expiration: new Date(Date.now() - 1000),
      }));
      const store = await open({ credentials: provider });
      await store.put("a", bytes(1));
      const asked = provider.mock.calls.length;
      await store.put("b", bytes(1));
      expect(provider.mock.calls.length).toBeGreaterThan(asked);
    });

    test("that cannot be had are no fault of the store", async () => {
      const refused = await open({ credentials: () => Promise.reject(new Error("the session is over")) });
      await expectKind(refused.put("key", bytes(1)), "access-denied");
      const offline = await open({ credentials: () => Promise.reject(new TypeError("Failed to fetch")) });
      await expectKind(offline.put("key", bytes(1)), "network");
    });
  });
});

async function* blocks(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(MIB).fill(i);
}

async function keys(store: ObjectStore): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list("")) found.push(key);
  return found;
}
