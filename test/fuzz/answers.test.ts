/** What S3 and a gateway answer, spoiled: by a proxy, a server of another kind, or somebody. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect } from "vitest";
import { openStore } from "../../node/index.ts";
import { collect, type ObjectInfo, type ObjectStore } from "../../src/store/object-store.ts";
import { fuzz, typed } from "./fuzz.ts";
import { byteEdits, editBytes, editJson, fewByteEdits, jsonEdits } from "./mutate.ts";

/** Requests that one call may need: a list goes on where an answer says so, but not for ever. */
const MOST_REQUESTS = 50;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

let answer: Answer;
let requests = 0;
const server = createServer((incoming: IncomingMessage, outgoing: ServerResponse) => {
  requests += 1;
  incoming.resume();
  if (requests > MOST_REQUESTS) return void outgoing.destroy();
  try {
    outgoing.writeHead(answer.status, answer.headers).end(answer.body);
  } catch {
    outgoing.destroy(); // Headers that Node does not send.
  }
});
let url: string;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

async function expectTyped(store: ObjectStore, act: (store: ObjectStore) => Promise<unknown>): Promise<void> {
  requests = 0;
  await typed(() => act(store));
  expect(requests, "requests of one call").toBeLessThanOrEqual(MOST_REQUESTS);
}

async function list(store: ObjectStore): Promise<void> {
  const found: ObjectInfo[] = [];
  for await (const info of store.list("wal/")) {
    expect(typeof info.key).toBe("string");
    expect(info.size).toBeGreaterThanOrEqual(0);
    expect(Number.isFinite(info.lastModified)).toBe(true);
    expect(info.age).toBeGreaterThanOrEqual(0);
    found.push(info);
    if (found.length > 10_000) throw new Error("a listing without end");
  }
}

async function get(store: ObjectStore): Promise<void> {
  const { size, body } = await store.get("wal/0/0000000000000001.wal.zst", {
    range: { offset: 0, length: 5 },
  });
  expect(Number.isSafeInteger(size) && size >= 0).toBe(true);
  expect((await collect(body, 1 << 20)).length).toBeLessThanOrEqual(1 << 20);
}

const acts = fc.constantFrom(list, get, (store: ObjectStore) =>
  store.delete(["wal/0/0000000000000001.wal.zst"]),
);
const status = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(200, 206) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(204, 301, 304, 307, 400, 401, 403, 404, 408, 409, 412, 416, 429, 500, 503),
  },
);
const headerValue = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "5",
    "-1",
    "%",
    "%zz",
    "bytes 0-4/5",
    "bytes 0-4/*",
    "bytes 4-0/-1",
    '"etag"',
    "1e999",
  ),
  fc.string({ maxLength: 20 }),
);

const xml = `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>bucket</Name><Prefix>app/wal/</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>
<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>
<Contents><Key>app/wal/0/0000000000000001.wal.zst</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>"1"</ETag><Size>12</Size></Contents>
<Contents><Key>app/wal/0/%2B0000000000000002.wal.zst</Key><LastModified>2025-01-01T00:00:01.000Z</LastModified><Size>7</Size></Contents>
</ListBucketResult>`;
const documents = [
  xml,
  xml.replace("<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>", ""),
  "<Error><Code>SlowDown</Code><Message>m</Message></Error>",
  "<DeleteResult><Error><Key>app/wal/0/0000000000000001.wal.zst</Key><Code>AccessDenied</Code></Error></DeleteResult>",
  "12345",
];
const xmlBody = fc.oneof(
  fc
    .tuple(fc.constantFrom(...documents), fewByteEdits)
    .map(([text, edits]) => editBytes(Buffer.from(text), edits)),
  fc
    .tuple(
      fc.constantFrom(...documents),
      fc.constantFrom("%", "%ff", "%00", "-1", "x", "1e99", "]]>", "&x;", ""),
      fc.nat(),
    )
    .map(([text, value, at]) => {
      const places = [...text.matchAll(/>([^<>\n]+)</g)];
      const place = places[at % Math.max(1, places.length)];
      if (place === undefined) return Buffer.from(value);
      return Buffer.from(
        text.slice(0, place.index + 1) + value + text.slice(place.index + place[0].length - 1),
      );
    }),
);

fuzz(
  "answers of S3",
  100,
  fc.record({
    act: acts,
    status,
    body: xmlBody,
    range: headerValue,
    etag: fc.option(headerValue, { nil: '"e"' }),
    date: fc.option(headerValue, { nil: "Tue, 28 Jan 2025 00:00:00 GMT" }),
  }),
  async ({ act, status, body, range, etag, date }) => {
    const headers = { "content-range": range, etag, date, "retry-after": range };
    answer = { status, body, headers };
    const store = await openStore({
      s3Bucket: "bucket",
      s3Prefix: "app",
      s3: { endpoint: url, credentials: { accessKeyId: "a", secretAccessKey: "b" } },
    });
    await expectTyped(store, act);
  },
);

const answers: readonly unknown[] = [
  {
    objects: [["wal/0/0000000000000001.wal.zst", 12, 1700000000000, 5]],
    next: "wal/0/0000000000000001.wal.zst",
  },
  { objects: [["wal/0/0000000000000001.wal.zst", 12, 1700000000000, 5]], next: null },
  { conditionalCreate: "atomic", partBytes: 8388608 },
  { kind: "throttled", message: "later", retryAfterMs: 1000, key: "wal/0/0000000000000001.wal.zst" },
  null,
];

fuzz(
  "answers of a gateway",
  200,
  fc.record({
    act: fc.oneof(
      acts,
      fc.constantFrom(
        (store: ObjectStore) => store.capabilities(),
        (store: ObjectStore) => store.put("lineage.json", new Uint8Array(3), { ifNoneMatch: "*" }),
      ),
    ),
    status,
    body: fc.oneof(
      fc
        .tuple(fc.constantFrom(...answers), fc.oneof(fc.constant([]), jsonEdits))
        .map(([value, edits]) => Buffer.from(JSON.stringify(editJson(value, edits)) ?? "")),
      fc
        .tuple(fc.constantFrom(...answers), byteEdits)
        .map(([value, edits]) => editBytes(Buffer.from(JSON.stringify(value)), edits)),
      fc.constant(Buffer.from("12345")),
    ),
    genuine: fc.constantFrom("1", "1", "1", "2", ""),
    size: headerValue,
    length: headerValue,
    etag: headerValue,
  }),
  async ({ act, status, body, genuine, size, length, etag }) => {
    const headers = {
      "sluice-protocol": genuine,
      "sluice-size": size,
      "sluice-length": length,
      "sluice-etag": etag,
      "retry-after": size,
    };
    answer = { status, body, headers };
    await expectTyped(await openStore({ replica: `${url}/` }), act);
  },
);
