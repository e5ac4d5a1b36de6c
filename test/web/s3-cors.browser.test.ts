import { afterAll, describe, expect, inject, test } from "vitest";
import { commands } from "vitest/browser";
import type { ObjectStore } from "../../src/store/object-store.ts";
import type { S3Server } from "../s3/ceph.ts";
import { CORS_RULE } from "../s3/cors-rule.ts";
import { bytes } from "../suites/object-store.ts";
import { StoreWorker } from "./worker-store.ts";

const server = inject("s3");
const MIB = 1024 * 1024;

describe.skipIf(server === null)("CORS, from a dedicated worker", () => {
  const there = server as S3Server;
  const { region, accessKeyId, secretAccessKey } = there ?? {};
  const worker = new StoreWorker();
  afterAll(async () => {
    worker.end();
    await commands.stopServers();
  });

  /** A bucket that holds `key`, and from then on has this rule. A fresh one: browsers remember what a server allowed. */
  async function bucketWith(rule: typeof CORS_RULE | null, endpoint = there.endpoint): Promise<ObjectStore> {
    const bucket = await commands.makeBucket(there, CORS_RULE);
    const open = (prefix: string) =>
      worker.open({ bucket, prefix, region, endpoint, credentials: { accessKeyId, secretAccessKey } });
    await (await open("app")).put("key", bytes(100));
    await commands.setCors(there, bucket, rule);
    // Another path, for which nothing is remembered.
    return open("app");
  }

  const calls: Record<string, (store: ObjectStore) => Promise<unknown>> = {
    put: (store) => store.put("new", bytes(10)),
    "conditional put": (store) => store.put("other", bytes(10), { ifNoneMatch: "*" }),
    "multipart upload": (store) => store.putStream("large", blocks(9)),
    get: (store) => store.get("key"),
    "ranged get": (store) => store.get("key", { range: { offset: 0, length: 1 } }),
    list: (store) => keys(store),
    delete: (store) => store.delete(["new"]),
  };
  const outcomes = async (store: ObjectStore) => {
    const failed: Record<string, string> = {};
    for (const [name, call] of Object.entries(calls)) {
      const error = await call(store).then(
        () => null,
        (thrown) => thrown,
      );
      if (error === null) continue;
      expect(error).toMatchObject({ code: "SLUICE_STORE" });
      expect(error.message).toContain("CORS");
      failed[name] = error.kind;
    }
    return failed;
  };
  const without = (field: keyof typeof CORS_RULE, value: string) => ({
    ...CORS_RULE,
    [field]: CORS_RULE[field].filter((each) => each !== value),
  });

  test("the rule is enough", async () => {
    expect(await outcomes(await bucketWith(CORS_RULE))).toEqual({});
  });

  test("no rule: every call fails, and names it", async () => {
    const failed = await outcomes(await bucketWith(null));
    expect(Object.keys(failed)).toEqual(Object.keys(calls));
    expect(new Set(Object.values(failed))).toEqual(new Set(["network"]));
  });

  test.each([
    ["PUT", ["put", "conditional put", "multipart upload"]],
    ["GET", ["get", "ranged get", "list"]],
    ["POST", ["multipart upload", "delete"]],
  ])("without %s", async (method, expected) => {
    const failed = await outcomes(await bucketWith(without("AllowedMethods", method)));
    expect(Object.keys(failed)).toEqual(expected);
    expect(new Set(Object.values(failed))).toEqual(new Set(["network"]));
  });

  test("without the headers of a request", async () => {
    const failed = await outcomes(await bucketWith(without("AllowedHeaders", "*")));
    expect(Object.keys(failed)).toEqual(Object.keys(calls));
  });

  test.each([
    ["ETag", ["multipart upload", "get", "ranged get"]],
    ["Content-Range", ["ranged get"]],
    ["Date", ["list"]],
  ])("without %s of an answer", async (header, expected) => {
    const failed = await outcomes(await bucketWith(without("ExposeHeaders", header)));
    expect(Object.keys(failed)).toEqual(expected);
    expect(new Set(Object.values(failed))).toEqual(new Set(["invalid-request"]));
  });

  test("without HEAD, where the store has no conditional writes", async () => {
    const endpoint = await commands.startPeculiar(there, "ignores conditions");
    const enough = await outcomes(await bucketWith(CORS_RULE, endpoint));
    expect(enough).toEqual({});
    const failed = await outcomes(await bucketWith(without("AllowedMethods", "HEAD"), endpoint));
    expect(failed).toEqual({ "conditional put": "network" });
  });

  test("without DELETE, the parts of an upload that failed stay", async () => {
    const bucket = async (rule: typeof CORS_RULE) => {
      const store = await bucketWith(rule);
      const failure = new Error("the source failed");
      const source = async function* () {
        yield* blocks(9);
        throw failure;
      };
      await expect(store.putStream("large", source())).rejects.toBe(failure);
      return commands.openUploads(there, new URL(store.url).hostname);
    };
    expect(await bucket(CORS_RULE)).toEqual([]);
    expect(await bucket(without("AllowedMethods", "DELETE"))).toEqual(["app/large"]);
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
