/** What is secret stays out of all that an application may log, show or send on, whatever a store does with a request. */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { runCli } from "../../node/cli/run.ts";
import { MemoryStore, openStore, SqliteReplicator, type SqliteReplicatorConfig } from "../../node/index.ts";
import { next } from "../replicator/fixture.ts";

const keys = {
  accessKeyId: "SENTINELKEYID0123456",
  secretAccessKey: "sentinelSecret/0123456789+abcdefghijklmno",
  sessionToken: "sentinelSession0123456789abcdefghijklmnopqrstuvwxyz==",
};
const TOKEN = "sentinel-gateway-token-0123456789";

const AT = "/?X-Amz-Credential=SENTINELKEYID0123456%2F20260101&X-Amz-Signature=abcdef0123456789";
/** All that a request carried, as servers that explain a refusal at length repeat it. */
const told = ({ url, rawHeaders }: IncomingMessage) => `${url} ${rawHeaders.join(" ")} ${AT}`;
const xml = (incoming: IncomingMessage, code: string) => {
  const text = told(incoming).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<Error><Code>${code}</Code><Message>${text}</Message><AWSAccessKeyId>${keys.accessKeyId}</AWSAccessKeyId><StringToSign>${text}</StringToSign></Error>`;
};
const failures: Readonly<Record<string, (incoming: IncomingMessage, outgoing: ServerResponse) => void>> = {
  "a wrong signature": (incoming, outgoing) =>
    outgoing.writeHead(403).end(xml(incoming, "SignatureDoesNotMatch")),
  "no access": (incoming, outgoing) => outgoing.writeHead(403).end(xml(incoming, "AccessDenied")),
  "expired keys": (incoming, outgoing) => outgoing.writeHead(400).end(xml(incoming, "ExpiredToken")),
  "a bad request": (incoming, outgoing) => outgoing.writeHead(400).end(told(incoming)),
  "a failure": (incoming, outgoing) => outgoing.writeHead(500).end(xml(incoming, "InternalError")),
  "a redirect": (_, outgoing) => outgoing.writeHead(307, { location: `http://127.0.0.1:1${AT}` }).end(),
  "a page": (incoming, outgoing) =>
    outgoing.writeHead(200, { etag: AT }).end(`<!doctype html>${told(incoming)}`),
  "JSON of a gateway's": (incoming, outgoing) =>
    outgoing
      .writeHead(403, { "sluice-protocol": "1" })
      .end(JSON.stringify({ kind: "access-denied", message: told(incoming), key: "lineage.json" })),
  "a cut connection": (_, outgoing) => outgoing.destroy(),
};

let fail = failures["a failure"]!;
const server = createServer((incoming, outgoing) => {
  incoming.resume();
  fail(incoming, outgoing);
});
let endpoint: string;
const folder = mkdtempSync(join(tmpdir(), "sluice-secrets-"));
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Everything that could be printed of a value: hidden fields, inherited ones, causes. */
function expectNoSecrets(...values: unknown[]): void {
  const seen = new Set<unknown>();
  const look = (value: unknown): void => {
    if (typeof value === "string")
      expect(value).not.toMatch(/sentinel|X-Amz-\w+=|AWS4-HMAC|Signature=|Credential=/i);
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    seen.add(value);
    for (const name of Reflect.ownKeys(value)) look(Reflect.get(value, name));
    look(inspect(value, { depth: 10, showHidden: true }));
    look(JSON.stringify(value));
    look(String(value));
  };
  values.forEach(look);
}

/** The same location for stores, replicators, and the CLI. */
const s3 = () => ({ s3Bucket: "bucket", s3: { endpoint, credentials: keys } });
const gateway = () => ({
  replica: `${endpoint}/`,
  gateway: { headers: () => ({ authorization: `Bearer ${TOKEN}` }) },
});
const places = { S3: s3, "a gateway": gateway };

describe.each(Object.entries(failures))("%s", (_, failure) => {
  test.each(Object.entries(places))("of %s: every call of a store", async (_, place) => {
    fail = failure;
    const store = await openStore(place());
    const calls = [
      () => store.put("lineage.json", new Uint8Array(3), { ifNoneMatch: "*" }),
      () => store.putStream("metadata.json", (async function* () {})()),
      () => store.get("lineage.json", { range: { offset: 0, length: 3 } }),
      async () => {
        for await (const _ of store.list("wal/"));
      },
      () => store.delete(["metadata.json"]),
      () => store.capabilities(),
    ];
    const errors = await Promise.all(calls.map((call) => call().catch((error: unknown) => error)));
    expect(errors.filter((error) => error instanceof Error).length).toBeGreaterThan(2);
    expectNoSecrets(store, ...errors);
  });
});

test.each(Object.entries(places))(
  "what a replicator over %s logs, raises and says of itself",
  async (name, place) => {
    fail = failures["a wrong signature"]!;
    const logged: string[] = [];
    const log = (line: string) => void logged.push(line);
    const dbPath = join(folder, `${name.replace(" ", "-")}.db`);
    // What has a history starts without asking.
    const before = await SqliteReplicator.create({ dbPath, replica: new MemoryStore() });
    await before.start();
    await before.stop();
    const config: SqliteReplicatorConfig = {
      dbPath,
      syncIntervalMs: 5,
      uploadIntervalMs: 0,
      stopTimeoutMs: 1,
      logger: { info: log, warn: log, error: log },
      ...place(),
    };
    const replicator = await SqliteReplicator.create(config);
    onTestFinished(async () => void (await replicator.stop()));
    const restored = await replicator.restore({ overwrite: true }).catch((error: unknown) => error);
    const raised = next(replicator, "error");
    await replicator.start();
    const db = replicator.openDatabase();
    db.exec("CREATE TABLE t(a)");
    db.close();
    const flushed = await replicator.flush().catch((error: unknown) => error);
    const error = await raised;
    expect(logged.length).toBeGreaterThan(0);
    expect(restored).toBeInstanceOf(Error);
    expectNoSecrets(restored, flushed, error, replicator.status(), ...logged);
  },
);

test("what the command line prints", async () => {
  fail = failures["a wrong signature"]!;
  const said: unknown[] = [];
  for (const method of ["log", "error", "warn"] as const)
    vi.spyOn(console, method).mockImplementation((...words) => void said.push(...words));
  vi.stubEnv("AWS_ACCESS_KEY_ID", keys.accessKeyId);
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", keys.secretAccessKey);
  vi.stubEnv("AWS_SESSION_TOKEN", keys.sessionToken);
  vi.stubEnv("SLUICE_GATEWAY_TOKEN", TOKEN);
  onTestFinished(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });
  const replicas = [
    `s3://bucket/?endpoint=${endpoint}`,
    `${endpoint}/`,
    "s3://sentinelKey:sentinelSecret@bucket/",
    "s3://bucket/?secretAccessKey=sentinelSecret",
    "https://user:sentinelPassword@gateway.example/",
    `s3://bucket/?endpoint=${encodeURIComponent("https://user:sentinelPassword@host/")}`,
  ];
  for (const replica of replicas)
    for (const command of [
      ["ls", replica],
      ["status", replica, "--json"],
      ["restore", replica, join(folder, "out.db")],
      ["inspect", replica, "snapshots/0000000000000001.sqlite.zst"],
      ["destroy", replica, "--yes"],
    ])
      expect(await runCli(command)).not.toBe(0);
  expect(said.length).toBeGreaterThan(20);
  expectNoSecrets(...said);
});

test.each([
  { replica: "s3://sentinelKey:sentinelSecret@bucket/" },
  { replica: "s3://bucket/?X-Amz-Signature=sentinel" },
  { replica: "https://user:sentinelPassword@gateway.example/" },
  { replica: "https://gateway.example/?token=sentinel" },
  { s3Bucket: "bucket", s3: { endpoint: "https://user:sentinelPassword@host" } },
  { s3Bucket: "bucket", s3: { endpoint: "https://host/?sig=sentinel" } },
  { s3Bucket: "bucket", s3: { credentials: "sentinelSecret" as never } },
  { s3Bucket: "bucket", s3: { credentials: { accessKeyId: "", secretAccessKey: "sentinelSecret" } } },
])("a configuration that is refused is not repeated %#", async (location) => {
  const error = await openStore(location).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "SLUICE_CONFIG" });
  expectNoSecrets(error);
});
