import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect } from "vitest";
import { MemoryStore, openStore, SqliteReplicator, serveGateway } from "../../node/index.ts";
import { ConfigError } from "../../src/errors.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { checkS3Config, formatS3Url, parseS3Url } from "../../src/store/s3-config.ts";
import { SqliteReplicator as WebReplicator } from "../../web/index.ts";
import { fuzz, typed } from "./fuzz.ts";
import { byteEdits, editBytes, oddValue } from "./mutate.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fields = [
  ...[
    "autoRestore",
    "onUnknownLocal",
    "snapshotIntervalSecs",
    "maxCacheSize",
    "syncIntervalMs",
    "uploadIntervalMs",
  ],
  ...[
    "checkpointPages",
    "stopTimeoutMs",
    "signal",
    "logger",
    "sqlite3",
    "unsafeNoLock",
    "pool",
    "directory",
    "lock",
  ],
  ...["s3", "s3Bucket", "s3Prefix", "gateway", "retentionSecs", "__proto__", "toString"],
];
/** No string that could be a path: what is valid is created. */
const value = fc.oneof(
  oddValue,
  fc.constantFrom<unknown>(undefined, Number.NaN, Number.POSITIVE_INFINITY, 5n, Symbol("x")),
  fc.object({ maxDepth: 1 }),
);
const config = fc.record({
  dbPath: fc.oneof(
    { weight: 4, arbitrary: fc.constant(join(folder, "app.db")) },
    { weight: 1, arbitrary: value.filter((v) => typeof v !== "string") },
  ),
  replica: fc.oneof({ weight: 4, arbitrary: fc.constant("memory") }, { weight: 1, arbitrary: value }),
  more: fc.array(fc.tuple(fc.constantFrom(...fields), value), { maxLength: 3 }),
});

fuzz("the configuration of Node's entry", 150, config, async ({ dbPath, replica, more }) => {
  const given = { dbPath, replica: replica === "memory" ? new MemoryStore() : replica };
  for (const [field, value] of more)
    Object.defineProperty(given, field, { value, enumerable: true, configurable: true });
  const replicator = await typed(() => SqliteReplicator.create(given as never));
  await replicator?.stop();
  expect(readdirSync(folder).filter((name) => !name.startsWith("app.db"))).toEqual([]);
});

fuzz("the configuration of the browser's entry", 500, config, async ({ dbPath, replica, more }) => {
  const given = { dbPath, replica: replica === "memory" ? new MemoryStore() : replica };
  for (const [field, value] of more)
    Object.defineProperty(given, field, { value, enumerable: true, configurable: true });
  // Without OPFS it ends at the latest there.
  expect(await typed(() => WebReplicator.create(given as never))).toBe(null);
});

fuzz(
  "options of restore, of the gateway and of its server",
  500,
  fc.array(
    fc.tuple(
      fc.constantFrom(
        "store",
        "authorize",
        "host",
        "port",
        "token",
        "allowedOrigins",
        "partBytes",
        "maxUploads",
        "idleMs",
        "signal",
        "onError",
        "x",
      ),
      value,
    ),
    { maxLength: 4 },
  ),
  async (entries) => {
    const options = Object.fromEntries(entries);
    await typed(() => createGateway(options as never));
    // A server that listens is none of a wrong configuration.
    if (entries.some(([name]) => name === "x")) await typed(() => serveGateway(options as never));
  },
);

const urls = [
  "s3://bucket/prefix/?region=eu-central-1&endpoint=https%3A%2F%2Fhost%3A9000&forcePathStyle=true",
  "s3://bucket",
  "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/x/",
  `file://${folder}/replica`,
  "https://host.example/path/",
  "http://127.0.0.1:80/",
  "http://user:sentinelPassword@127.0.0.1/",
  "s3://key:sentinelPassword@bucket/",
];
const url = fc.oneof(
  fc
    .tuple(fc.constantFrom(...urls), byteEdits)
    .map(([text, edits]) => Buffer.from(editBytes(Buffer.from(text), edits)).toString("latin1")),
  fc
    .tuple(
      fc.constantFrom("s3:", "s3://", "S3://b/", "https://", "http://localhost", "file://", "file:///", ""),
      fc.string({ unit: "binary", maxLength: 20 }),
    )
    .map((parts) => parts.join("")),
  fc.webUrl({ withQueryParameters: true, withFragments: true }).map((text) => text.replace(/^https?/, "s3")),
);

fuzz("a replica's URL", 1500, url, async (text) => {
  // Behind neither of these it is no password, but part of a name.
  const secret = /[:@]sentinelPassword/.test(text);
  try {
    const store = await openStore({ replica: text });
    if (secret) expect(store.url).not.toContain("sentinelPassword");
    if (!/^s3:/i.test(text)) return;
    // What people are shown names the same place.
    const settings = checkS3Config(parseS3Url(text));
    expect(store.url).toBe(formatS3Url(settings));
    const { bucket, prefix, endpoint } = checkS3Config(parseS3Url(store.url));
    expect({ bucket, prefix, endpoint }).toEqual({
      bucket: settings.bucket,
      prefix: settings.prefix,
      endpoint: settings.endpoint,
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (secret) expect(error.message).not.toContain("sentinelPassword");
  }
});
