import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { s3Runtime } from "../../node/s3-runtime.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { blocks, keysOf } from "./bench.ts";
import type { S3Server } from "./ceph.ts";
import { CORS_RULE } from "./cors-rule.ts";
import type { Gateway } from "./gateway.ts";
import { leastPolicy } from "./policy.ts";
import { freshBucket, server } from "./server.ts";
import { assumeRole, startStsGateway } from "./sts.ts";

test("README.md states the policy and the CORS rule that are tested", () => {
  const readme = readFileSync(resolve(import.meta.dirname, "../../README.md"), "utf8");
  const blocks = [...readme.matchAll(/```json\n(.*?)```/gs)].map(([, json]) => JSON.parse(json!));
  const text = JSON.stringify(leastPolicy("my-bucket", "app/", true));
  expect(blocks).toContainEqual(JSON.parse(text.replace("StringLikeIfExists", "StringLike")));
  const { AllowedOrigins: _, ...rule } = CORS_RULE;
  expect(blocks).toContainEqual({ CORSRules: [expect.objectContaining(rule)] });
});

describe.skipIf(server === null)("temporary credentials with README's least policy", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startStsGateway(server as S3Server);
  });
  afterAll(() => gateway?.stop());

  async function session(deleting: boolean) {
    const { endpoint } = gateway;
    const location = await freshBucket(endpoint);
    const policy = leastPolicy(location.bucket, "app/", deleting);
    const credentials = await assumeRole(endpoint, server as S3Server, policy);
    const open = (prefix: string, change = {}) => new S3Store({ ...location, prefix, ...change }, s3Runtime);
    return {
      own: open("app/", { credentials }),
      foreign: open("other/", { credentials }),
      owner: open("other/"),
    };
  }

  test("are enough for every call, and for nothing elsewhere", async () => {
    const { own, foreign, owner } = await session(true);
    expect(await own.capabilities()).toEqual({ conditionalCreate: "atomic" });
    await own.put("a", bytes(10), { ifNoneMatch: "*" });
    await expectKind(own.put("a", bytes(10), { ifNoneMatch: "*" }), "precondition-failed");
    await own.putStream("large", blocks(20));
    expect((await own.get("large", { range: { offset: 0, length: 1 } })).size).toBe(20 * 1024 * 1024);
    await expectKind(own.get("missing"), "not-found");
    expect(await keysOf(own)).toEqual(["a", "large"]);

    await owner.put("theirs", bytes(10));
    await expectKind(foreign.get("theirs"), "access-denied");
    await expectKind(foreign.put("new", bytes(10)), "access-denied");
    await expectKind(foreign.delete(["theirs"]), "access-denied");
    expect(await keysOf(owner)).toEqual(["theirs"]);

    await own.delete(["a", "large"]);
    expect(await keysOf(own)).toEqual([]);
  });

  test("without DeleteObject write and read, and leave the probe", async () => {
    const { own } = await session(false);
    expect(await own.capabilities()).toEqual({ conditionalCreate: "atomic" });
    await own.put("a", bytes(10), { ifNoneMatch: "*" });
    await own.putStream("large", blocks(20));
    await expectKind(own.delete(["a"]), "access-denied");
    expect(await keysOf(own)).toEqual([".sluice-probe", "a", "large"]);
  });
});
