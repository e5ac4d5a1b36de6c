import { Readable } from "node:stream";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { expect, test } from "vitest";
import { freshBucket, ownGateway, rawClient, server } from "./server.ts";

test("facts", async () => {
  console.log(server);
  const t = Date.now();
  const g = await ownGateway();
  console.log("gateway", Date.now() - t);
  await g.stop();
  await g.start();
  await g.stop();
  const { bucket: Bucket } = await freshBucket();
  const c = rawClient();
  const say = async (what: string, p: Promise<any>) => {
    try {
      const r = await p;
      console.log(
        what,
        "->",
        r.$metadata.httpStatusCode,
        { ...r, Body: undefined, $metadata: undefined },
        r.Body?.constructor?.name,
      );
      r.Body?.resume?.();
      return r;
    } catch (e: any) {
      console.log(
        what,
        "!!",
        e.name,
        e.Code,
        e.message,
        e.code,
        e.$metadata?.httpStatusCode,
        e.$metadata,
        e.$response?.headers,
      );
    }
  };
  await say("put", c.send(new PutObjectCommand({ Bucket, Key: "k", Body: new Uint8Array(1000) })));
  await say(
    "delete",
    c.send(
      new DeleteObjectsCommand({
        Bucket,
        Delete: { Quiet: true, Objects: [{ Key: "k" }, { Key: "nonono" }, { Key: "a +%/&é <x>" }] },
      }),
    ),
  );
  const bad2 = new S3Client({
    region: "x",
    endpoint: server!.endpoint,
    forcePathStyle: true,
    credentials: { ...server!, secretAccessKey: "x" },
    maxAttempts: 1,
  });
  await say("wrong secret", bad2.send(new GetObjectCommand({ Bucket, Key: "k" })));
  const skew = new S3Client({
    region: "x",
    endpoint: server!.endpoint,
    forcePathStyle: true,
    credentials: server!,
    systemClockOffset: 3600_000,
    maxAttempts: 1,
  });
  await say("skew", skew.send(new GetObjectCommand({ Bucket, Key: "k" })));
  await say("skew", skew.send(new GetObjectCommand({ Bucket, Key: "k" })));
  const nobody = new S3Client({
    region: "x",
    endpoint: "http://127.0.0.1:1",
    forcePathStyle: true,
    credentials: server!,
    maxAttempts: 1,
  });
  await say("refused", nobody.send(new GetObjectCommand({ Bucket, Key: "k" })));
  const token = new S3Client({
    region: "x",
    endpoint: server!.endpoint,
    forcePathStyle: true,
    credentials: { ...server!, sessionToken: "abc" },
    maxAttempts: 1,
  });
  await say("token", token.send(new GetObjectCommand({ Bucket, Key: "k" })));
});
