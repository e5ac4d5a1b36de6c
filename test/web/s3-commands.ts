import { randomBytes } from "node:crypto";
import {
  type CORSRule,
  CreateBucketCommand,
  DeleteBucketCorsCommand,
  ListMultipartUploadsCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import type { BrowserCommand } from "vitest/node";
import type { S3Credentials } from "../../src/store/s3-config.ts";
import type { S3Server } from "../s3/ceph.ts";
import { run } from "../s3/children.ts";
import { leastPolicy } from "../s3/policy.ts";
import { type Spoiling, startProxy } from "../s3/proxy.ts";
import { assumeRole, startStsGateway } from "../s3/sts.ts";
import { ServersOfFiles } from "./servers-of-files.ts";

/** `shows refusals`: CORS headers also in answers to keys that are not known, as Amazon's have. */
type Peculiarity = "ignores conditions" | "shows refusals";
interface Session {
  readonly endpoint: string;
  readonly credentials: S3Credentials;
}
type Keys = Pick<S3Server, "accessKeyId" | "secretAccessKey">;

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Makes a bucket with this CORS rule, or none, and answers its name. */
    makeBucket(server: S3Server, rule: CORSRule | null): Promise<string>;
    setCors(server: S3Server, bucket: string, rule: CORSRule | null): Promise<void>;
    /** Stores an object that a browser may keep for an hour. */
    putCacheable(server: S3Server, bucket: string, key: string, text: string): Promise<void>;
    /** Keys of uploads that were begun and neither completed nor thrown away. */
    openUploads(server: S3Server, bucket: string): Promise<(string | undefined)[]>;
    makeKeys(server: S3Server): Promise<Keys>;
    /** From then on the server refuses them. */
    removeKeys(server: S3Server, accessKeyId: string): Promise<void>;
    /** Temporary credentials for the prefix `app/` of a bucket, and the endpoint that takes them. */
    startSession(server: S3Server, bucket: string): Promise<Session>;
    /** Another endpoint of the server, with this peculiarity. */
    startPeculiar(server: S3Server, peculiarity: Peculiarity): Promise<string>;
    /** Stops what the test file has started. */
    stopServers(): Promise<void>;
  }
}

/** What tests in a browser have done for them outside. */
export const s3Commands = {
  makeBucket: command(async (server: S3Server, rule: CORSRule | null) => {
    const bucket = `sluice-${randomBytes(6).toString("hex")}`;
    await withClient(server, (client) => client.send(new CreateBucketCommand({ Bucket: bucket })));
    if (rule !== null) await setCors(server, bucket, rule);
    return bucket;
  }),
  setCors: command(setCors),
  putCacheable: command(async (server: S3Server, Bucket: string, Key: string, Body: string) => {
    const CacheControl = "max-age=3600";
    const command = new PutObjectCommand({ Bucket, Key, Body, CacheControl });
    await withClient(server, (client) => client.send(command));
  }),
  openUploads: command(async (server: S3Server, Bucket: string) => {
    const command = new ListMultipartUploadsCommand({ Bucket });
    const { Uploads = [] } = await withClient(server, (client) => client.send(command));
    return Uploads.map(({ Key }) => Key);
  }),
  makeKeys: command(async ({ folder }: S3Server) => {
    const keys = {
      accessKeyId: `SLUICE${randomBytes(7).toString("hex").toUpperCase()}`,
      secretAccessKey: randomBytes(20).toString("hex"),
    };
    await administer(folder, "create", keys.accessKeyId, `--secret-key=${keys.secretAccessKey}`);
    return keys;
  }),
  removeKeys: command(async ({ folder }: S3Server, accessKeyId: string) => {
    await administer(folder, "rm", accessKeyId);
  }),
  startSession: (async ({ testPath }, server, bucket) => {
    const gateway = await startStsGateway(server);
    servers.add(testPath, () => gateway.stop());
    const { endpoint } = gateway;
    // Without its time, which no message to a page carries.
    const { expiration: _, ...credentials } = await assumeRole(
      endpoint,
      server,
      leastPolicy(bucket, "app/", true),
    );
    return { endpoint, credentials };
  }) satisfies BrowserCommand<[server: S3Server, bucket: string]>,
  startPeculiar: (async ({ testPath }, { endpoint, secretAccessKey }, peculiarity) => {
    const spoilings: Record<Peculiarity, Spoiling> = {
      "ignores conditions": { strip: { header: "if-none-match", secretAccessKey } },
      "shows refusals": {
        response: ({ headers }) => {
          headers["access-control-allow-origin"] ??= "*";
        },
      },
    };
    const proxy = await startProxy(endpoint, spoilings[peculiarity]);
    servers.add(testPath, () => proxy.close());
    return proxy.endpoint;
  }) satisfies BrowserCommand<[server: S3Server, peculiarity: Peculiarity]>,
  stopServers: (({ testPath }) => servers.stop(testPath)) satisfies BrowserCommand<[]>,
};

const servers = new ServersOfFiles();

function command<Parameters extends unknown[], Answer>(
  act: (...parameters: Parameters) => Promise<Answer>,
): BrowserCommand<Parameters> {
  return (_, ...parameters) => act(...parameters);
}

async function setCors(server: S3Server, Bucket: string, rule: CORSRule | null): Promise<void> {
  await withClient(server, (client) =>
    rule === null
      ? client.send(new DeleteBucketCorsCommand({ Bucket }))
      : client.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: [rule] } })),
  );
}

async function administer(
  folder: string,
  verb: string,
  accessKeyId: string,
  ...more: string[]
): Promise<void> {
  const key = ["key", verb, "--uid=test", "--key-type=s3", `--access-key=${accessKeyId}`];
  await run(folder, "radosgw-admin", "-n", "client.rgw", ...key, ...more);
}

async function withClient<T>(server: S3Server, act: (client: S3Client) => Promise<T>): Promise<T> {
  const { endpoint, region, accessKeyId, secretAccessKey } = server;
  const client = new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
  });
  try {
    return await act(client);
  } finally {
    client.destroy();
  }
}
