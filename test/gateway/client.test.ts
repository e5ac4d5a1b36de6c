import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { setImmediate } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../../node/index.ts";
import { ConfigError, StoreError } from "../../src/errors.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import type { Fetch } from "../../src/store/gateway-config.ts";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect, type ObjectStore } from "../../src/store/object-store.ts";
import { gc } from "../gc.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { as, useServers } from "./server.ts";

const servers = useServers();
const key = "lineage.json";

/** The URL of a server that answers everything so. */
async function answering(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function failures(store: ObjectStore): Promise<StoreError[]> {
  const list = async () => {
    for await (const _ of store.list("")) throw new Error("it lists something");
  };
  const attempts = [
    () => store.get(key),
    () => store.put(key, bytes(1)),
    list,
    () => store.delete([key]),
    () => store.capabilities(),
  ];
  const errors: StoreError[] = [];
  for (const attempt of attempts) {
    const error = await attempt().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(StoreError);
    errors.push(error as StoreError);
  }
  return errors;
}

describe("what is not a gateway", () => {
  test.each([
    // Above all: a missing page is no missing object, or a replica would be begun anew.
    [404, "invalid-request"],
    [412, "invalid-request"],
    [200, "unavailable"],
    [204, "unavailable"],
    [301, "access-denied"],
    [302, "access-denied"],
    [400, "invalid-request"],
    [401, "access-denied"],
    [403, "access-denied"],
    [408, "throttled"],
    [409, "invalid-request"],
    [413, "invalid-request"],
    [429, "throttled"],
    [500, "unavailable"],
    [502, "unavailable"],
    [503, "throttled"],
    [504, "unavailable"],
  ])("and answers %i is %s, whatever was asked", async (status, kind) => {
    const url = await answering((_, response) => {
      response.writeHead(status, { location: "https://login.example/", "content-type": "text/html" });
      response.end(status === 204 ? "" : '<p>hello</p>{"kind":"not-found"}');
    });
    for (const error of await failures(new GatewayStore(url)))
      expect(error).toMatchObject({ kind, message: expect.stringContaining(url) });
  });

  test("states when to come again", async () => {
    const url = await answering((_, response) => response.writeHead(503, { "retry-after": "7" }).end());
    for (const error of await failures(new GatewayStore(url))) expect(error.detail.retryAfterMs).toBe(7000);
  });

  const broken: Readonly<Record<string, RequestListener>> = {
    "hangs up": (_, response) => response.destroy(),
    "stops in the middle": (_, response) => {
      response.writeHead(200, { "sluice-protocol": "1", "content-length": "100" });
      response.write("{", () => response.destroy());
    },
    "talks nonsense": (_, response) => response.writeHead(500, { "sluice-protocol": "1" }).end("<p>"),
  };
  test.each(Object.entries(broken))("or %s is a network error", async (_, listener) => {
    const store = new GatewayStore(await answering(listener));
    await expectKind(store.capabilities(), "network");
    await expectKind(store.put(key, bytes(1)), "network");
    await expectKind(store.delete([key]), "network");
  });

  test("and cannot be reached is a network error", async () => {
    const server = await servers.listen(createGateway({ store: new MemoryStore(), authorize: () => null }));
    await server.close();
    for (const error of await failures(new GatewayStore(server.url))) expect(error.kind).toBe("network");
  });
});

test("a body is there whenever it is read, whatever was collected meanwhile", async () => {
  const { url } = await servers.gateway({ store: new MemoryStore() });
  const client = new GatewayStore(url, as("alice"));
  await client.put(key, bytes(300_000));
  const { body } = await client.get(key);
  // Node hears of what was collected in a task of its own.
  for (let i = 0; i < 3; i++) {
    gc();
    await setImmediate();
  }
  expect(Buffer.from(await collect(body, 300_000)).equals(bytes(300_000))).toBe(true);
});

test("a body that is cut is a network error, not a short object", async () => {
  class Cut extends MemoryStore {
    override async get(...parameters: Parameters<MemoryStore["get"]>) {
      const result = await super.get(...parameters);
      const body = (async function* () {
        for await (const chunk of result.body) {
          yield chunk;
          throw new StoreError("network", "the store is gone");
        }
      })();
      return { ...result, body };
    }
  }
  const store = new Cut();
  const { url } = await servers.gateway({ store });
  const client = new GatewayStore(url, as("alice"));
  await client.put(key, bytes(300_000));
  const { body, size } = await client.get(key);
  expect(size).toBe(300_000);
  await expectKind(collect(body, size), "network");
});

test("an abort does not wait for a server that hangs", async () => {
  const aborter = new AbortController();
  const reason = new Error("enough");
  let begun: () => void = () => undefined;
  const requested = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const url = await answering(() => begun());
  const store = new GatewayStore(url);
  const attempts = [
    store.get(key, { signal: aborter.signal }),
    store.put(key, bytes(1), { signal: aborter.signal }),
    store.delete([key], { signal: aborter.signal }),
    store.capabilities({ signal: aborter.signal }),
  ].map((attempt) => attempt.catch((error: unknown) => error));
  await requested;
  aborter.abort(reason);
  expect(await Promise.all(attempts)).toEqual(attempts.map(() => reason));
});

test("a client that goes away ends what the store does for it", async () => {
  let asked: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => {
    asked = resolve;
  });
  let ended: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => {
    ended = resolve;
  });
  class Slow extends MemoryStore {
    override get(_: string, { signal }: { signal?: AbortSignal } = {}): Promise<never> {
      asked();
      return new Promise((_, reject) => {
        signal?.addEventListener("abort", () => {
          ended();
          reject(signal.reason);
        });
      });
    }
  }
  const { url } = await servers.gateway({ store: new Slow() });
  const aborter = new AbortController();
  const getting = new GatewayStore(url, as("alice")).get(key, { signal: aborter.signal });
  await waiting;
  aborter.abort();
  await expect(getting).rejects.toBe(aborter.signal.reason);
  await stopped;
});

test("a page of the list that never comes is not taken for an empty one", async () => {
  const store = new MemoryStore();
  for (let i = 1; i <= 1500; i++)
    await store.put(`alice/wal/0/${i.toString(16).padStart(16, "0")}.wal.zst`, bytes(1));
  const gateway = createGateway({ store, authorize: () => ({ prefix: "alice" }) });
  const { url } = await servers.listen(async (request) => {
    if (request.url.includes("after=")) throw new Error("cut");
    return gateway(request);
  });
  const listing = (async () => {
    for await (const _ of new GatewayStore(url).list(""));
  })();
  await expectKind(listing, "network");
});

describe("the app's headers", () => {
  test("are asked for with each request", async () => {
    const { url } = await servers.gateway({ store: new MemoryStore() });
    let asked = 0;
    const store = new GatewayStore(url, {
      headers: async () => {
        asked += 1;
        return { authorization: "Bearer alice" };
      },
    });
    await store.put(key, bytes(1));
    await store.delete([key]);
    expect(asked).toBe(3);
  });

  test.each([
    [new Error("token hush"), "access-denied"],
    [new TypeError("fetch failed"), "network"],
  ])("that fail with %s fail the request, without the words", async (thrown, kind) => {
    const store = new GatewayStore("https://gateway.example/", {
      headers: () => {
        throw thrown;
      },
    });
    const error = await store.get(key).catch((error: unknown) => error);
    expect(error).toMatchObject({ kind });
    expect(String(error)).not.toContain("hush");
  });
});

test.each([{ authorization: "a\nb" }, { "a b": "c" }, "authorization: x", undefined])(
  "headers that are none (%j) are not taken for a lack of network",
  async (headers) => {
    const store = new GatewayStore("https://gateway.example/", { headers: () => headers as never });
    await expectKind(store.get(key), "access-denied");
  },
);

test("an unknown kind of a newer gateway is taken as unavailable", async () => {
  const answer: Fetch = async () =>
    new Response('{"kind":"constructor","message":"new"}', {
      status: 400,
      headers: { "sluice-protocol": "1" },
    });
  const store = new GatewayStore("https://gateway.example/", { fetch: answer });
  for (const error of await failures(store)) expect(error.kind).toBe("unavailable");
});

describe("a gateway's URL", () => {
  test.each([
    ["https://app.example/replica/", "https://app.example/replica/"],
    ["https://app.example", "https://app.example/"],
    ["HTTPS://App.example:8443/a%20b", "https://app.example:8443/a%20b"],
    ["http://localhost:3000/x/", "http://localhost:3000/x/"],
    ["http://127.0.0.1/", "http://127.0.0.1/"],
    ["http://[::1]:80/", "http://[::1]/"],
  ])("%s", async (url, expected) => {
    expect(new GatewayStore(url).url).toBe(expected);
    expect((await openStore({ replica: url })).url).toBe(expected);
  });

  test.each([
    "http://app.example/",
    "http://127.0.0.1.example/",
    "http://localhost.example/",
    "http://127.0.0.2/",
    "https://user:hush@app.example/",
    "https://user@app.example/",
    "https://app.example/?token=hush",
    "https://app.example/#hush",
    "https://",
    "https:///path",
    "https://a b/",
    "https://[/",
    "https:\\\\app.example",
    "ftp://app.example/",
    "app.example",
    "",
  ])("%j is refused without saying what it was", async (url) => {
    const open = () => new GatewayStore(url);
    expect(open).toThrow(ConfigError);
    expect(open).not.toThrow(/hush/);
    await expect(openStore({ replica: url })).rejects.toThrow(ConfigError);
  });

  test("comes with known options, of the right kind, and is not for other stores", async () => {
    const url = "https://app.example/";
    const open = (options: object) => () => new GatewayStore(url, options);
    expect(open({ header: () => ({}) })).toThrow(ConfigError);
    expect(open({ headers: { authorization: "x" } })).toThrow(ConfigError);
    expect(open({ credentials: "always" })).toThrow(ConfigError);
    expect(open({ fetch: "fetch" })).toThrow(ConfigError);
    const gateway = { credentials: "omit" as const };
    expect((await openStore({ replica: url, gateway })).url).toBe(url);
    const refused = [
      { replica: "file:///tmp/x", gateway },
      { replica: url, s3: {} },
      { replica: url, s3Bucket: "b" },
      { replica: url, gateway: { fetch } as never },
    ];
    for (const location of refused) await expect(openStore(location)).rejects.toThrow(ConfigError);
  });
});
