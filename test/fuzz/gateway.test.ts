import fc from "fast-check";
import { expect } from "vitest";
import { createGateway } from "../../src/gateway/gateway.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { byName } from "../gateway/listen.ts";
import { fuzz } from "./fuzz.ts";
import { byteEdits, editBytes, oddValue } from "./mutate.ts";

const SEGMENT = "wal/0/0000000000000001.wal.zst";
const SECRET = "what is bob's and nobody else's";
/** What a gateway may answer, whatever it is asked. */
const STATUSES = [200, 204, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413];

async function filled(): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const key of [`bob/${SEGMENT}`, "bob/lineage.json", "lineage.json", "alicebob/lineage.json"])
    await store.put(key, new TextEncoder().encode(SECRET));
  await store.put(`alice/${SEGMENT}`, new TextEncoder().encode("alice's"));
  return store;
}

const verb = fc.constantFrom(
  "about",
  "get",
  "list",
  "put",
  "begin",
  "part",
  "complete",
  "abort",
  "delete",
  "x",
  "__proto__",
);
const path = fc.oneof(
  fc.constantFrom(
    SEGMENT,
    "lineage.json",
    `../bob/${SEGMENT}`,
    "..%2fbob%2flineage.json",
    "../bob/",
    "",
    "/",
    "bob",
    "\0",
  ),
  fc
    .tuple(fc.constant(`../bob/${SEGMENT}`), byteEdits)
    .map(([key, edits]) => Buffer.from(editBytes(Buffer.from(key), edits)).toString("latin1")),
  fc.string({ unit: "binary" }),
);
const number = fc.oneof(
  fc.constantFrom("0", "1", "7", "-1", "1e3", "0x10", " 1", "9007199254740992", "99999999999999999", ""),
  fc.string({ maxLength: 4 }),
);
const parameter = fc.oneof(
  fc.tuple(fc.constantFrom("key", "prefix", "after", "match", "upload"), path),
  fc.tuple(fc.constantFrom("offset", "length", "size", "number", "parts", "create"), number),
);
const header = fc.oneof(
  fc.tuple(
    fc.constantFrom(
      "origin",
      "sec-fetch-site",
      "referer",
      "content-length",
      "content-encoding",
      "x-forwarded-host",
    ),
    fc.constantFrom("null", "cross-site", "https://evil.example", "5", "gzip", "http://127.0.0.1"),
  ),
  fc.tuple(
    fc.constantFrom("sluice-protocol", "authorization"),
    fc.constantFrom("1", "2", "Bearer bob", "Bearer ../bob", ""),
  ),
);
const body = fc.oneof(
  fc.constantFrom(
    "",
    "x",
    "[]",
    '["lineage.json"]',
    '["../bob/lineage.json"]',
    '[["lineage.json"]]',
    "null",
    "{",
    "[1]",
  ),
  oddValue.map((value) => JSON.stringify(value) ?? ""),
  fc.uint8Array({ maxLength: 50 }),
);

fuzz(
  "requests to a gateway",
  300,
  fc.array(
    fc.record({
      method: fc.constantFrom("GET", "POST", "POST", "OPTIONS", "PUT", "DELETE"),
      verb,
      parameters: fc.array(parameter, { maxLength: 6 }),
      headers: fc.array(header, { maxLength: 1 }),
      body,
    }),
    { minLength: 1, maxLength: 3 },
  ),
  async (requests) => {
    const store = await filled();
    const failures: unknown[] = [];
    const ending = new AbortController();
    const gateway = createGateway({
      store,
      // A caller can only be who the token says; the two that the fuzzer tries are refused.
      authorize: (request) =>
        request.headers.get("authorization") === "Bearer alice" ? byName(request) : null,
      onError: (error) => failures.push(error),
      signal: ending.signal,
      timer: { after: () => ({ cancel: () => undefined }) },
    });
    for (const { method, verb, parameters, headers, body } of requests) {
      const all = new Headers({ "sluice-protocol": "1", authorization: "Bearer alice" });
      for (const [name, value] of headers) all.set(name, value);
      const query = new URLSearchParams([["verb", verb], ...parameters]);
      const hasBody = method !== "GET" && method !== "OPTIONS";
      const response = await gateway(
        new Request(`http://127.0.0.1/at?${query}`, {
          method,
          headers: all,
          ...(hasBody && { body }),
        } as RequestInit),
      );
      expect(STATUSES).toContain(response.status);
      expect(await response.text()).not.toContain(SECRET);
    }
    ending.abort();
    expect(failures).toEqual([]);
    const foreign: string[] = [];
    for await (const { key } of store.list("")) {
      if (key.startsWith("alice/")) continue;
      foreign.push(key);
      const { body } = await store.get(key);
      expect(new TextDecoder().decode(await collect(body, 100))).toBe(SECRET);
    }
    expect(foreign).toEqual(["alicebob/lineage.json", "bob/lineage.json", `bob/${SEGMENT}`, "lineage.json"]);
  },
);
