import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect, type ObjectStore } from "../../src/store/object-store.ts";
import { byName } from "./listen.ts";
import { protocol, useServers } from "./server.ts";

const servers = useServers();
const key = "wal/0/0000000000000001.wal.zst";
const alice = { ...protocol, authorization: "Bearer alice" };
const bob = { ...protocol, authorization: "Bearer bob" };
const PAGE = "https://app.example";

/** Two users' objects, beside what belongs to nobody. */
async function filled(): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const name of [`alice/${key}`, `bob/${key}`, `alice2/${key}`, "alice/notes.txt", key, "secret"])
    await store.put(name, new TextEncoder().encode(name));
  return store;
}

async function contents(store: ObjectStore): Promise<string[]> {
  const found: string[] = [];
  for await (const info of store.list("")) {
    const { body } = await store.get(info.key);
    found.push(`${info.key}=${new TextDecoder().decode(await collect(body, 10_000))}`);
  }
  return found;
}

const query = (parameters: Record<string, string>) => `?${new URLSearchParams(parameters)}`;

describe("a key that is none of the caller's replica", () => {
  const keys = [
    "../bob/wal/0/0000000000000001.wal.zst",
    "wal/../../bob/wal/0/0000000000000001.wal.zst",
    "%2e%2e/bob/wal/0/0000000000000001.wal.zst",
    "%252e%252e%252fbob/wal/0/0000000000000001.wal.zst",
    "..%2fbob%2fwal%2f0%2f0000000000000001.wal.zst",
    "..\\bob\\wal\\0\\0000000000000001.wal.zst",
    "..%5cbob%5cwal",
    "．．/bob/wal/0/0000000000000001.wal.zst",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "C:\\windows",
    "./wal/0/0000000000000001.wal.zst",
    "wal//0/0000000000000001.wal.zst",
    "wal/0/0000000000000001.wal.zst/",
    "wal/0/0000000000000001.wal.zst\0.txt",
    "wal/0/0000000000000001.wal.zst%00",
    "\0",
    "",
    "notes.txt",
    "wal/4/0000000000000001-0000000000000002.wal.zst",
    "wal/0/0000000000000001.wal.zst\n",
    "WAL/0/0000000000000001.wal.zst",
    "wal/0/000000000000000G.wal.zst",
    "wal/1/0000000000000002-0000000000000001.wal.zst",
    "snapshots/../wal/0/0000000000000001.wal.zst",
    "lineage.json/../../bob/lineage.json",
    ".sluice-tmp/x",
    ".sluice-probe",
    `wal/${"x".repeat(5000)}`,
  ];
  test.each(keys.map((key) => [JSON.stringify(key).slice(0, 60), key]))("%s", async (_, key) => {
    const store = await filled();
    const before = await contents(store);
    const { url } = await servers.gateway({ store });
    const encoded = encodeURIComponent(key);
    const requests = [
      fetch(`${url}?verb=get&key=${encoded}`, { headers: alice }),
      fetch(`${url}?verb=put&size=1&key=${encoded}`, { headers: alice, method: "POST", body: "x" }),
      fetch(`${url}?verb=begin&key=${encoded}`, { headers: alice, method: "POST" }),
      fetch(`${url}?verb=delete&size=${Buffer.byteLength(JSON.stringify([key]))}`, {
        headers: alice,
        method: "POST",
        body: JSON.stringify([key]),
      }),
    ];
    for (const response of await Promise.all(requests)) {
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ kind: "invalid-request" });
    }
    expect(await contents(store)).toEqual(before);
  });

  test("as a path, it is not looked at", async () => {
    const { url } = await servers.gateway({ store: await filled() });
    for (const path of ["..%2fbob/", "%2e%2e/bob/", "//bob/", "bob"]) {
      const response = await fetch(`${url}${path}${query({ verb: "get", key })}`, { headers: alice });
      expect(await response.text()).toBe(`alice/${key}`);
    }
  });

  test("said twice is refused", async () => {
    const { url } = await servers.gateway({ store: await filled() });
    const response = await fetch(`${url}?verb=get&key=${key}&key=${key}`, { headers: alice });
    expect(response.status).toBe(400);
  });
});

describe("a list", () => {
  test.each([
    ["", [key]],
    ["wal/", [key]],
    ["../", []],
    ["../bob/", []],
    ["/", []],
    ["2/", []],
    ["wal/../../", []],
    ["\0", []],
  ])("of %j holds what is the caller's and no more", async (prefix, expected) => {
    const { url } = await servers.gateway({ store: await filled() });
    const response = await fetch(url + query({ verb: "list", prefix }), { headers: alice });
    const { objects } = (await response.json()) as { objects: [string][] };
    expect(objects.map(([name]) => name)).toEqual(expected);
  });

  test.each(["../", "\uffff", "~", "/../bob"])("after %j as well", async (after) => {
    const { url } = await servers.gateway({ store: await filled() });
    const response = await fetch(url + query({ verb: "list", prefix: "", after }), { headers: alice });
    const { objects } = (await response.json()) as { objects: [string][] };
    for (const [name] of objects) expect(name).toBe(key);
  });
});

describe("a prefix that no app should answer", () => {
  test.each(["../bob", "a/../../b", "/", "/etc", "a//b", "a\\b", ".", "a\0b", undefined, null, 7, {}])(
    "%j opens nothing",
    async (prefix) => {
      const authorize = () => ({ prefix }) as { prefix: string };
      const { url } = await servers.gateway({ store: await filled(), authorize } as never);
      const response = await fetch(url + query({ verb: "list", prefix: "" }), { headers: alice });
      expect(response.status).toBe(403);
    },
  );
});

describe("authorize", () => {
  test.each([
    [null, 401],
    [undefined, 401],
    [{ deny: 401 }, 401],
    [{ deny: 403 }, 403],
    [{ deny: true, prefix: "" }, 401],
  ])("%j is a refusal", async (grant, status) => {
    const store = await filled();
    const { url } = await servers.listen(createGateway({ store, authorize: () => grant as never }));
    const before = await contents(store);
    for (const [verb, method] of [
      ["get", "GET"],
      ["list", "GET"],
      ["about", "GET"],
      ["put", "POST"],
      ["begin", "POST"],
      ["delete", "POST"],
    ]) {
      const response = await fetch(url + query({ verb: verb!, key, prefix: "", size: "2" }), {
        method: method!,
        headers: protocol,
        ...(method === "POST" && { body: "[]" }),
      });
      expect(response.status).toBe(status);
      expect(await response.json()).toMatchObject({ kind: "access-denied" });
    }
    expect(await contents(store)).toEqual(before);
  });

  test("that throws lets nobody in, and its words stay inside", async () => {
    const told: unknown[] = [];
    const authorize = () => {
      throw new Error("postgres://user:hush@db");
    };
    const gateway = createGateway({
      store: new MemoryStore(),
      authorize,
      onError: (error) => told.push(error),
    });
    const { url } = await servers.listen(gateway);
    const response = await fetch(`${url}?verb=about`, { headers: protocol });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("hush");
    expect(told).toHaveLength(1);
  });

  test("is required, and so is a store; nothing else is taken", () => {
    const store = new MemoryStore();
    const make = (options: object) => () => createGateway(options as never);
    expect(make({ store })).toThrow(ConfigError);
    expect(make({ authorize: byName })).toThrow(ConfigError);
    expect(make({ store, authorize: byName, allowOrigins: [] })).toThrow(ConfigError);
    for (const origin of ["*", "null", "https://app.example/", "https://App.example", "app.example", ""])
      expect(make({ store, authorize: byName, allowedOrigins: [origin] }), origin).toThrow(ConfigError);
    for (const partBytes of [0, 1000, 9_000_000, Number.NaN, 100_000.5])
      expect(make({ store, authorize: byName, partBytes }), `${partBytes}`).toThrow(ConfigError);
  });
});

describe("an upload's id", () => {
  const begun = async (url: string): Promise<string> => {
    const response = await fetch(url + query({ verb: "begin", key }), { method: "POST", headers: alice });
    return ((await response.json()) as { upload: string }).upload;
  };
  const post = (
    url: string,
    headers: Record<string, string>,
    parameters: Record<string, string>,
    body = "",
  ) => fetch(url + query(parameters), { method: "POST", headers, body });

  test("is of no use to another caller, nor for another key", async () => {
    const store = await filled();
    const { url } = await servers.gateway({ store });
    const upload = await begun(url);
    const other = "wal/0/0000000000000002.wal.zst";
    for (const [headers, target] of [
      [bob, key],
      [alice, other],
    ] as const) {
      for (const parameters of [
        { verb: "part", number: "1", size: "1" },
        { verb: "complete", parts: "0" },
        { verb: "abort" },
      ]) {
        const response = await post(url, headers, { ...parameters, key: target, upload }, "x");
        expect(response.status).toBe(410);
      }
    }
    expect((await post(url, alice, { verb: "part", key, upload, number: "1", size: "1" }, "x")).status).toBe(
      200,
    );
    expect((await post(url, alice, { verb: "complete", key, upload, parts: "1" })).status).toBe(200);
    expect(await contents(store)).toContain(`alice/${key}=x`);
    expect(await contents(store)).toContain(`bob/${key}=bob/${key}`);
  });

  test.each(["", "__proto__", "constructor", "../..", "0".repeat(32)])("%j names none", async (upload) => {
    const { url } = await servers.gateway({ store: await filled() });
    expect((await post(url, alice, { verb: "complete", key, upload, parts: "0" })).status).toBe(410);
  });

  test("cannot be had without end", async () => {
    const { url } = await servers.gateway({ store: await filled(), maxUploads: 2 });
    const [first] = [await begun(url), await begun(url)];
    const refused = await post(url, alice, { verb: "begin", key });
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ kind: "throttled", retryAfterMs: expect.any(Number) });
    expect((await post(url, bob, { verb: "begin", key })).status).toBe(200);
    await post(url, alice, { verb: "abort", key, upload: first });
    expect((await post(url, alice, { verb: "begin", key })).status).toBe(200);
  });
});

describe("where a request comes from", () => {
  const foreign = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "https://app.example.evil.example" },
    { origin: "http://app.example" },
    { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: "https://sub.app.example", "sec-fetch-site": "same-site" },
  ];
  test.each(foreign)("%j is refused, and may not read why", async (headers) => {
    const store = await filled();
    const before = await contents(store);
    const gateway = createGateway({ store, authorize: byName, allowedOrigins: [PAGE] });
    for (const [method, parameters] of [
      ["GET", { verb: "get", key }],
      ["POST", { verb: "put", key, size: "1" }],
      ["POST", { verb: "delete", size: "1" }],
      ["OPTIONS", { verb: "put", key, size: "1" }],
    ] as const) {
      const response = await gateway(
        new Request(`https://gateway.example/r/${query(parameters)}`, {
          method,
          headers: { ...alice, ...headers },
          ...(method === "POST" && { body: "x" }),
        }),
      );
      expect(response.status).toBe(403);
      expect(response.headers.get("access-control-allow-origin")).toBeNull();
    }
    expect(await contents(store)).toEqual(before);
  });

  test.each([
    {},
    { origin: "https://gateway.example" },
    { origin: "https://gateway.example", "sec-fetch-site": "same-origin" },
    { origin: PAGE },
    { origin: PAGE, "sec-fetch-site": "cross-site" },
  ])("%j is welcome", async (headers) => {
    const gateway = createGateway({ store: await filled(), authorize: byName, allowedOrigins: [PAGE] });
    const url = `https://gateway.example/r/${query({ verb: "get", key })}`;
    const response = await gateway(new Request(url, { headers: { ...alice, ...headers } }));
    expect(await response.text()).toBe(`alice/${key}`);
    const shared = headers.origin === PAGE ? PAGE : null;
    expect(response.headers.get("access-control-allow-origin")).toBe(shared);
  });

  test("behind a proxy that ends TLS, the host counts", async () => {
    const { url } = await servers.gateway({ store: await filled() });
    const { host } = new URL(url);
    for (const [origin, status] of [
      [`https://${host}`, 200],
      [`https://x${host}`, 403],
      ["https://127.0.0.1", 403],
    ] as const) {
      const response = await fetch(url + query({ verb: "get", key }), { headers: { ...alice, origin } });
      expect(response.status, origin).toBe(status);
    }
  });

  test("a preflight is answered without authorize, for the app's headers too", async () => {
    const authorize = () => {
      throw new Error("must not be asked");
    };
    const gateway = createGateway({ store: new MemoryStore(), authorize, allowedOrigins: [PAGE] });
    const headers = { origin: PAGE, "access-control-request-headers": "authorization,sluice-protocol" };
    const response = await gateway(new Request("https://gateway.example/", { method: "OPTIONS", headers }));
    expect(response.status).toBe(204);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "access-control-allow-origin": PAGE,
      "access-control-allow-credentials": "true",
      "access-control-allow-methods": "GET, POST",
      "access-control-allow-headers": "authorization,sluice-protocol",
      vary: "Origin",
    });
  });

  test.each([{}, { "sluice-protocol": "2" }, { "sluice-protocol": "" }])(
    "without the protocol's header (%j) nothing happens",
    async (headers) => {
      const store = await filled();
      const before = await contents(store);
      const { url } = await servers.gateway({ store });
      const { authorization } = alice;
      for (const verb of ["put", "delete", "begin"]) {
        const response = await fetch(url + query({ verb, key, size: "2" }), {
          method: "POST",
          headers: { authorization, ...headers },
          body: "[]",
        });
        expect(response.status).toBe(400);
      }
      expect(await contents(store)).toEqual(before);
    },
  );
});

describe("a request that is none", () => {
  test.each(["HEAD", "PUT", "DELETE", "PATCH", "PROPFIND"])("%s", async (method) => {
    const { url } = await servers.gateway({ store: await filled() });
    for (const verb of ["get", "put", "delete"])
      expect((await fetch(url + query({ verb, key, size: "1" }), { method, headers: alice })).status).toBe(
        405,
      );
  });

  test.each([
    ["GET", { verb: "put", key, size: "1" }],
    ["GET", { verb: "delete", size: "1" }],
    ["POST", { verb: "get", key }],
    ["GET", { verb: "__proto__" }],
    ["GET", { verb: "toString" }],
    ["POST", { verb: "constructor" }],
  ] as const)("%s %j", async (method, parameters) => {
    const { url } = await servers.gateway({ store: await filled() });
    expect((await fetch(url + query(parameters), { method, headers: alice })).status).toBe(405);
  });

  test.each([
    { verb: "get", key, offset: "x", length: "1" },
    { verb: "get", key, offset: "1e3", length: "1" },
    { verb: "get", key, offset: "-99999999999999999999", length: "1" },
    { verb: "get", key, offset: "0" },
    { verb: "put", key, size: "-1" },
    { verb: "put", key, size: "1e2" },
    { verb: "put", key, size: "" },
    { verb: "put", key },
    { verb: "put", key, size: "1", create: "yes" },
    { verb: "begin", key, create: "1" },
    { verb: "delete", size: "1" },
  ] as Record<string, string>[])("%j", async (parameters) => {
    const { url } = await servers.gateway({ store: await filled() });
    const method = parameters.verb === "get" ? "GET" : "POST";
    const body = method === "POST" ? { body: "x" } : {};
    expect((await fetch(url + query(parameters), { method, headers: alice, ...body })).status).toBe(400);
  });

  test("with a length and an encoding of its own is refused before anything", async () => {
    const store = await filled();
    const before = await contents(store);
    const { port } = await servers.gateway({ store });
    const target = `/replica/${query({ verb: "put", key, size: "1" })}`;
    const lines = [
      `POST ${target} HTTP/1.1`,
      `host: 127.0.0.1:${port}`,
      "sluice-protocol: 1",
      "authorization: Bearer alice",
      "content-length: 6",
      "transfer-encoding: chunked",
      "",
      "0\r\n\r\nGET /replica/ HTTP/1.1\r\n\r\n",
    ];
    expect(await raw(port, lines.join("\r\n"))).toMatch(/^HTTP\/1\.1 400 .*\r\n(?!.*HTTP\/1\.1)/);
    expect(await contents(store)).toEqual(before);
  });

  const PUT = `POST /replica/${query({ verb: "put", key, size: "4" })} HTTP/1.1`;
  const GET = `GET /replica/${query({ verb: "get", key })} HTTP/1.1`;
  const own = ["host: 127.0.0.1", "sluice-protocol: 1", "authorization: Bearer alice"];
  test.each<[string, string[], string]>([
    ["two lengths", [PUT, ...own, "content-length: 4", "content-length: 40"], "evil"],
    ["a length that is none", [PUT, ...own, "content-length: 4, 4"], "evil"],
    ["a negative length", [PUT, ...own, "content-length: -4"], "evil"],
    ["an encoding twice", [PUT, ...own, "transfer-encoding: chunked, chunked"], "4\r\nevil\r\n0\r\n\r\n"],
    ["an encoding that is hidden", [PUT, ...own, "transfer-encoding: xchunked"], "4\r\nevil\r\n0\r\n\r\n"],
    ["a chunk's length that is none", [PUT, ...own, "transfer-encoding: chunked"], "4x\r\nevil\r\n0\r\n\r\n"],
    ["a space before a colon", [PUT, ...own, "content-length : 4"], "evil"],
    ["a folded header", [PUT, ...own, "x: a", " content-length: 4"], "evil"],
    ["a bare line feed in a header", [PUT, ...own, "x: a\ncontent-length: 4"], "evil"],
    ["a NUL in a header", [GET, ...own, "x: a\0b"], ""],
    ["two callers", [GET, ...own, "authorization: Bearer bob"], ""],
    ["two protocols", [GET, ...own, "sluice-protocol: 2", "connection: close"], ""],
    ["two hosts", [GET, ...own, "host: evil.example"], ""],
    ["no host", [GET, ...own.slice(1)], ""],
    ["a bare carriage return in the target", [GET.replace("get", "get\rx"), ...own], ""],
  ])("with %s stores nothing, and no second request is read out of it", async (_, head, body) => {
    const store = await filled();
    const before = await contents(store);
    const { port } = await servers.gateway({ store });
    const smuggled = [GET, ...own, "connection: close", "", ""].join("\r\n");
    const answer = await raw(port, `${[...head, "", body].join("\r\n")}${smuggled}`);
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(answer).not.toContain("200 OK");
    expect(await contents(store)).toEqual(before);
  });

  test("whose headers are too large is refused", async () => {
    const { port } = await servers.gateway({ store: await filled() });
    const large = [GET, ...own, `x: ${"x".repeat(100_000)}`, "", ""].join("\r\n");
    expect(await raw(port, large)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("of a strange host or target is refused or read as what it is", async () => {
    const { port } = await servers.gateway({ store: await filled() });
    const get = (target: string, host: string) =>
      raw(
        port,
        `GET ${target} HTTP/1.1\r\nhost: ${host}\r\nsluice-protocol: 1\r\nauthorization: Bearer alice\r\nconnection: close\r\n\r\n`,
      );
    for (const host of ["a/b", "user@127.0.0.1", "a b", "[", "127.0.0.1:99999", "a?b", "a#b"])
      expect(await get("/?verb=about", host), host).toMatch(/^HTTP\/1\.1 400 /);
    for (const target of ["//evil.example/?verb=about", "/\\evil.example?verb=about"])
      expect(await get(target, "127.0.0.1"), target).toMatch(/^HTTP\/1\.1 200 /);
  });
});

/** All that a server answers to these bytes. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let answer = "";
  socket.setEncoding("latin1").on("data", (data) => {
    answer += data;
  });
  socket.on("error", () => undefined);
  socket.write(bytes);
  await once(socket, "close");
  return answer;
}
