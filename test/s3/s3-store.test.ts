import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { s3Runtime } from "../../node/s3-runtime.ts";
import { StoreError } from "../../src/errors.ts";
import { collect } from "../../src/store/object-store.ts";
import type { S3Credentials, S3StoreConfig } from "../../src/store/s3-config.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { type Spoiling, startProxy } from "./proxy.ts";
import { freshBucket, ownGateway, rawClient, server } from "./server.ts";

const MIB = 1024 * 1024;
const WRONG: S3Credentials = {
  accessKeyId: "SLUICEWRONGKEY000001",
  secretAccessKey: "sluiceWrongSecret0123456789",
};

describe.skipIf(server === null)("S3Store", () => {
  let bucket: Awaited<ReturnType<typeof freshBucket>>;
  const endings: (() => Promise<void> | void)[] = [];
  beforeAll(async () => {
    bucket = await freshBucket();
  });
  let prefixes = 0;
  let prefix: string;
  beforeEach(() => {
    prefix = `p${prefixes++}/`;
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    for (const end of endings.splice(0)) await end();
  });

  const storeWith = (change: Partial<S3StoreConfig> = {}, idleTimeoutMs = 20_000) =>
    new S3Store({ ...bucket, prefix, ...change }, { ...s3Runtime, idleTimeoutMs });
  const proxyWith = async (spoiling: Spoiling) => {
    const proxy = await startProxy(bucket.endpoint, spoiling);
    endings.push(proxy.close);
    return proxy;
  };
  const everyMethod = (store: S3Store): Record<string, () => Promise<unknown>> => ({
    put: () => store.put("key", bytes(10)),
    "conditional put": () => store.put("key", bytes(10), { ifNoneMatch: "*" }),
    "large put": () => store.put("key", { size: 9 * MIB, chunks: () => blocks(9) }),
    putStream: () => store.putStream("key", blocks(1)),
    "large putStream": () => store.putStream("key", blocks(9)),
    get: () => store.get("key"),
    list: () => keysOf(store),
    delete: () => store.delete(["key"]),
    capabilities: () => store.capabilities(),
  });
  const openUploads = async () => {
    const client = rawClient();
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket.bucket }));
    client.destroy();
    return Uploads.map((upload) => upload.Key);
  };

  describe("what fails, by its kind", () => {
    test("no such bucket", async () => {
      for (const call of Object.values(everyMethod(storeWith({ bucket: "sluice-none" })))) {
        await expectKind(call(), "no-such-bucket");
      }
    });

    test.each([
      ["key id", () => WRONG],
      ["secret", () => ({ ...WRONG, accessKeyId: bucket.credentials.accessKeyId })],
    ])("a wrong %s, and nothing of it in the error", async (_, keys) => {
      for (const call of Object.values(everyMethod(storeWith({ credentials: keys() })))) {
        const error = await rejection(call());
        expect(error).toMatchObject({ code: "SLUICE_STORE", kind: "access-denied", transient: false });
        expectNoSecrets(error);
      }
    });

    test("no server", async () => {
      const gateway = await ownGateway();
      await gateway.stop();
      for (const call of Object.values(everyMethod(storeWith({ endpoint: gateway.endpoint })))) {
        const error = await rejection(call());
        expect(error).toMatchObject({ kind: "network", transient: true });
        expectNoSecrets(error);
      }
    });

    test("a server that hangs, and then the same requests when it goes on", async () => {
      const gateway = await ownGateway();
      endings.push(() => gateway.stop());
      const store = storeWith({ endpoint: gateway.endpoint }, 200);
      await store.put("key", bytes(10));
      gateway.pause();
      for (const call of [() => store.put("new", bytes(10)), () => store.get("key"), () => keysOf(store)]) {
        await expectKind(call(), "network");
      }
      gateway.resume();
      await expect.poll(() => store.put("new", bytes(20)).then(() => "put", String)).toBe("put");
      expect(await read(store, "new")).toEqual(bytes(20));
    });

    test("a server that is killed and started again", async () => {
      const gateway = await ownGateway();
      endings.push(() => gateway.stop());
      const store = storeWith({ endpoint: gateway.endpoint });
      await store.put("key", bytes(10));
      await gateway.stop();
      await expectKind(store.get("key"), "network");
      await gateway.start();
      expect(await read(store, "key")).toEqual(bytes(10));
    });

    test("an answer that stops in the middle", async () => {
      await storeWith().put("key", bytes(3 * MIB));
      const { endpoint } = await proxyWith({
        response: (upstream, response) => {
          let seen = 0;
          upstream.on("data", (chunk: Buffer) => {
            seen += chunk.length;
            if (seen > MIB) response.destroy();
          });
        },
      });
      await expectKind(read(storeWith({ endpoint }), "key"), "network");
    });

    test("an answer that hangs in the middle", async () => {
      await storeWith().put("key", bytes(3 * MIB));
      const { endpoint } = await proxyWith({
        response: (upstream, response) => {
          upstream.once("data", () => {
            upstream.unpipe(response);
            upstream.pause();
          });
        },
      });
      await expectKind(read(storeWith({ endpoint }, 200), "key"), "network");
    });

    test.each([
      [429, "", { "retry-after": "7" }, { kind: "throttled", retryAfterMs: 7000, transient: true }],
      [503, "SlowDown", {}, { kind: "throttled", transient: true }],
      [408, "RequestCanceled", {}, { kind: "throttled", transient: true }],
      [500, "InternalError", {}, { kind: "unavailable", transient: true }],
      [502, "", {}, { kind: "unavailable", transient: true }],
      [409, "ConditionalRequestConflict", {}, { kind: "unavailable", transient: true }],
      [400, "ExpiredToken", {}, { kind: "expired-credentials", transient: false }],
      [403, "RequestTimeTooSkewed", {}, { kind: "clock-skew", transient: false }],
      [507, "", {}, { kind: "no-space", transient: false }],
      [400, "AuthorizationHeaderMalformed", {}, { kind: "invalid-request", transient: false }],
      [200, "", {}, { kind: "unavailable", transient: true }],
    ])("HTTP %d %s", async (status, code, headers, wanted) => {
      const { retryAfterMs, ...expected } = { retryAfterMs: undefined, ...wanted };
      const text = `<Error><Code>${code}</Code><Message>${WRONG.secretAccessKey} Signature=abc</Message></Error>`;
      const { endpoint } = await proxyWith({
        answer: (incoming, response) => {
          incoming
            .resume()
            .on("end", () => response.writeHead(status, headers).end(code === "" ? "<!html" : text));
          return true;
        },
      });
      const error = await rejection(keysOf(storeWith({ endpoint })));
      expect(error).toBeInstanceOf(StoreError);
      expect(error).toMatchObject(expected);
      expect((error as StoreError).detail.retryAfterMs).toBe(retryAfterMs);
      expectNoSecrets(error);
    });
  });

  describe("credentials", () => {
    test("refused once are asked for again, once for many requests", async () => {
      const provider = vi.fn(async () => (provider.mock.calls.length === 1 ? WRONG : bucket.credentials));
      const store = storeWith({ credentials: provider });
      await Promise.all(Array.from({ length: 10 }, (_, i) => store.put(`${i}`, bytes(i))));
      await store.put("large", { size: 9 * MIB, chunks: () => blocks(9) });
      expect(provider).toHaveBeenCalledTimes(2);
    });

    test("refused in the middle of a multipart upload", async () => {
      const provider = vi.fn(async () => bucket.credentials);
      let expired = false;
      const { endpoint } = await proxyWith({
        answer: (incoming, response) => {
          if (expired || !incoming.url?.includes("partNumber=2")) return false;
          expired = true;
          const text = "<Error><Code>ExpiredToken</Code></Error>";
          incoming.resume().on("end", () => response.writeHead(400).end(text));
          return true;
        },
      });
      const store = storeWith({ endpoint, credentials: provider });
      await store.putStream("key", blocks(20));
      expect((await read(store, "key")).length).toBe(20 * MIB);
      expect(provider).toHaveBeenCalledTimes(2);
    });

    test("refused again are given up", async () => {
      const provider = vi.fn(async () => WRONG);
      await expectKind(storeWith({ credentials: provider }).put("key", bytes(1)), "access-denied");
      expect(provider).toHaveBeenCalledTimes(2);
    });

    test("that cannot be had", async () => {
      const failure = new Error(`vault said: token=${WRONG.secretAccessKey}`);
      const error = await rejection(storeWith({ credentials: () => Promise.reject(failure) }).get("key"));
      expect(error).toMatchObject({ kind: "access-denied" });
      expectNoSecrets(error);
      const unreachable = Object.assign(new Error("x"), { code: "ENOTFOUND" });
      await expectKind(storeWith({ credentials: () => Promise.reject(unreachable) }).get("key"), "network");
    });

    test("that never come do not outlive the signal", async () => {
      const aborter = new AbortController();
      const credentials = () => {
        aborter.abort();
        return new Promise<never>(() => undefined);
      };
      const { signal } = aborter;
      expect(await rejection(storeWith({ credentials }).get("key", { signal }))).toBe(signal.reason);
    });
  });

  test("a clock an hour fast does not matter, and ages are by the store's", async () => {
    const now = Date.now.bind(Date);
    vi.spyOn(Date, "now").mockImplementation(() => now() + 3_600_000);
    const store = storeWith();
    await store.put("key", bytes(1));
    for await (const { age } of store.list("")) expect(age).toBeLessThan(60_000);
    await storeWith().putStream("other", blocks(9));
  });

  describe("a multipart upload leaves no part behind", () => {
    test("when its source fails", async () => {
      const failure = new Error("the source failed");
      const source = async function* () {
        yield* blocks(17);
        throw failure;
      };
      expect(await rejection(storeWith().putStream("key", source()))).toBe(failure);
      expect(await openUploads()).toEqual([]);
    });

    test("when it is aborted while parts are under way, and the source never goes on", async () => {
      const aborter = new AbortController();
      const { endpoint } = await proxyWith({
        answer: (incoming) => {
          if (!incoming.url?.includes("partNumber=2")) return false;
          aborter.abort();
          return true;
        },
      });
      const source = async function* () {
        yield* blocks(20);
        await new Promise(() => undefined);
      };
      const { signal } = aborter;
      expect(await rejection(storeWith({ endpoint }).putStream("key", source(), { signal }))).toBe(
        signal.reason,
      );
      expect(await openUploads()).toEqual([]);
    });

    test("when a part is refused, and the source never goes on", async () => {
      const { endpoint } = await proxyWith({
        answer: (incoming, response) => {
          if (!incoming.url?.includes("partNumber=1")) return false;
          incoming.resume().on("end", () => response.writeHead(503).end());
          return true;
        },
      });
      const source = async function* () {
        yield* blocks(9);
        await new Promise(() => undefined);
      };
      await expectKind(storeWith({ endpoint }).putStream("key", source()), "throttled");
      expect(await openUploads()).toEqual([]);
    });

    test("and a small one is no multipart upload at all", async () => {
      const { endpoint, requests } = await proxyWith({});
      await storeWith({ endpoint }).putStream("key", blocks(8));
      expect(requests.map((line) => line.split("?")[0])).toEqual([`PUT /${bucket.bucket}/${prefix}key`]);
    });
  });

  test("64 MiB are streamed in bounded memory, up and down", async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const inUse = () => {
      gc();
      return process.memoryUsage().arrayBuffers;
    };
    const before = inUse();
    let most = 0;
    let seen = 0;
    const watched = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        seen += chunk.length;
        if (Math.floor(seen / (3 * MIB)) !== Math.floor((seen - chunk.length) / (3 * MIB))) {
          most = Math.max(most, inUse() - before);
        }
        yield chunk;
      }
    };
    const store = storeWith();
    await store.putStream("stream", watched(blocks(64)));
    await store.put("known", { size: 64 * MIB, chunks: () => watched(blocks(64)) });
    const { size, body } = await store.get("known");
    let read = 0;
    for await (const chunk of watched(body)) read += chunk.length;
    expect([size, read]).toEqual([64 * MIB, 64 * MIB]);
    expect(most).toBeLessThan(40 * MIB);
  });

  describe("a large source of known size", () => {
    test("is one request, and is read again when credentials were refused", async () => {
      const provider = vi.fn(async () => (provider.mock.calls.length === 1 ? WRONG : bucket.credentials));
      const { endpoint, requests } = await proxyWith({});
      const store = storeWith({ endpoint, credentials: provider });
      await store.put("key", { size: 20 * MIB, chunks: () => blocks(20) });
      expect(requests).toHaveLength(2);
      expect((await store.get("key")).size).toBe(20 * MIB);
    });

    test.each([
      ["gives more than it stated", 19 * MIB, () => blocks(20)],
      ["gives less than it stated", 21 * MIB, () => blocks(20)],
    ])("that %s stores nothing", async (_, size, chunks) => {
      const store = storeWith();
      await expectKind(store.put("key", { size, chunks }), "invalid-request");
      await expectKind(store.get("key"), "not-found");
    });

    test("that fails stores nothing, and is closed", async () => {
      const store = storeWith();
      const failure = new Error("the source failed");
      let closed = false;
      const chunks = async function* () {
        try {
          yield* blocks(12);
          throw failure;
        } finally {
          closed = true;
        }
      };
      expect(await rejection(store.put("key", { size: 20 * MIB, chunks }))).toBe(failure);
      expect(closed).toBe(true);
      await expectKind(store.get("key"), "not-found");
    });
  });

  describe("conditional create", () => {
    test("is atomic on the real server, found out once, and leaves nothing", async () => {
      const { endpoint, requests } = await proxyWith({});
      const store = storeWith({ endpoint });
      const [first, second] = await Promise.all([store.capabilities(), store.capabilities()]);
      expect([first, second]).toEqual([{ conditionalCreate: "atomic" }, { conditionalCreate: "atomic" }]);
      await store.put("key", bytes(1), { ifNoneMatch: "*" });
      expect(requests.filter((line) => line.startsWith("PUT"))).toHaveLength(9);
      expect(await keysOf(store)).toEqual(["key"]);
    });

    test("ten writers that find it out at the same time agree", async () => {
      const all = await Promise.all(Array.from({ length: 10 }, () => storeWith().capabilities()));
      expect(new Set(all.map((one) => one.conditionalCreate))).toEqual(new Set(["atomic"]));
      expect(await keysOf(storeWith())).toEqual([]);
    });

    test("a probe left behind by credentials that may not delete tells the same", async () => {
      await storeWith().put(".sluice-probe", bytes(1));
      expect(await storeWith().capabilities()).toEqual({ conditionalCreate: "atomic" });
      expect(await keysOf(storeWith())).toEqual([".sluice-probe"]);
    });

    test("is none where the header is ignored: then a look before the put", async () => {
      const strip = { header: "if-none-match", secretAccessKey: bucket.credentials.secretAccessKey };
      const { endpoint } = await proxyWith({ strip });
      const store = storeWith({ endpoint });
      expect(await store.capabilities()).toEqual({ conditionalCreate: "none" });
      await store.put("key", bytes(1), { ifNoneMatch: "*" });
      await expectKind(store.put("key", bytes(2), { ifNoneMatch: "*" }), "precondition-failed");
    });

    test("is none where the header is refused, and then it is not sent", async () => {
      const { endpoint } = await proxyWith({
        answer: (incoming, response) => {
          if (incoming.headers["if-none-match"] === undefined) return false;
          incoming.resume().on("end", () => response.writeHead(501).end());
          return true;
        },
      });
      const store = storeWith({ endpoint });
      expect(await store.capabilities()).toEqual({ conditionalCreate: "none" });
      await store.put("key", bytes(1), { ifNoneMatch: "*" });
      await expectKind(store.put("key", bytes(2), { ifNoneMatch: "*" }), "precondition-failed");
    });

    test("that could not be found out is asked again", async () => {
      let failing = true;
      const { endpoint } = await proxyWith({
        answer: (incoming, response) => {
          if (failing) incoming.resume().on("end", () => response.writeHead(503).end());
          return failing;
        },
      });
      const store = storeWith({ endpoint });
      await expectKind(store.capabilities(), "throttled");
      failing = false;
      expect(await store.capabilities()).toEqual({ conditionalCreate: "atomic" });
    });
  });

  test("keys that XML cannot carry are listed and deleted, with others", async () => {
    const store = storeWith();
    const names = ["a", "control \u0001", "z "];
    for (const name of names) await store.put(name, bytes(1));
    expect(await keysOf(store)).toEqual(names);
    await store.delete(names);
    expect(await keysOf(store)).toEqual([]);
  });

  test("of a delete, a key's own failure is told, and the others are deleted", async () => {
    const { endpoint } = await proxyWith({
      answer: (incoming, response) => {
        if (incoming.method !== "POST") return false;
        const error = `<Error><Key>${prefix}b</Key><Code>AccessDenied</Code></Error>`;
        incoming.resume().on("end", () => response.end(`<DeleteResult>${error}</DeleteResult>`));
        return true;
      },
    });
    const error = await rejection(storeWith({ endpoint }).delete(["a", "b"]));
    expect(error).toMatchObject({ kind: "access-denied", detail: { key: "b" } });
  });
});

/** `count` times 1 MiB. */
async function* blocks(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(MIB).fill(i);
}

async function read(store: S3Store, key: string): Promise<Uint8Array> {
  return Uint8Array.from(await collect((await store.get(key)).body, 64 * MIB));
}

async function keysOf(store: S3Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys;
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error("it did not reject");
    },
    (error: unknown) => error,
  );
}

/** Looks through all that a logger could print of an error: its own and inherited fields, hidden ones, causes. */
function expectNoSecrets(error: unknown, seen = new Set<unknown>()): void {
  if (typeof error === "string") {
    expect(error).not.toMatch(
      /SLUICEWRONGKEY|sluiceWrongSecret|SLUICETESTKEY|X-Amz-Signature|AWS4-HMAC|Credential=/i,
    );
    return;
  }
  if (typeof error !== "object" || error === null || seen.has(error)) return;
  seen.add(error);
  for (const name of Reflect.ownKeys(error)) expectNoSecrets(Reflect.get(error, name), seen);
}
