import { randomBytes } from "node:crypto";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { inject } from "vitest";
import type { S3StoreConfig } from "../../src/store/s3-config.ts";
import { Gateway } from "./gateway.ts";

/** The S3 server of this run; null where none could be had: `describe.skipIf(server === null)`. */
export const server = inject("s3");

/** A client of our own, for what the store has no verb for. Close it with `destroy()`. */
export function rawClient(endpoint = running().endpoint): S3Client {
  const { region, accessKeyId, secretAccessKey } = running();
  return new S3Client({
    region,
    endpoint,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
}

/** Makes an empty bucket, and answers how to reach it. */
export async function freshBucket(
  endpoint = running().endpoint,
): Promise<S3StoreConfig & { readonly endpoint: string; readonly credentials: S3Keys }> {
  const { region, accessKeyId, secretAccessKey } = running();
  const bucket = `sluice-${randomBytes(6).toString("hex")}`;
  const client = rawClient();
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  return { bucket, region, endpoint, credentials: { accessKeyId, secretAccessKey } };
}

export interface S3Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A gateway of the caller's own over the same objects, to be stopped, paused and started without disturbing others. */
export async function ownGateway(): Promise<Gateway> {
  // Gateways with a cache tell each other what changes, and would wait 30 s for one that was killed.
  return Gateway.start(running().folder, ["--rgw-cache-enabled=false"]);
}

function running() {
  if (server === null)
    throw new Error("There is no S3 server in this run; is test/s3/global-setup.ts wired?");
  return server;
}
