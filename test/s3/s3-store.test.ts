import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { describe, expect, test, vi } from "vitest";
import { gc } from "../gc.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { Bench, blocks, keysOf, MIB, rejection, WRONG } from "./bench.ts";
import { rawClient, server } from "./server.ts";

describe.skipIf(server === null)("S3Store", () => {
  const bench = new Bench();
  const openUploads = async () => {
    const client = rawClient();
    const { Uploads = [] } = await client.send(
      new ListMultipartUploadsCommand({ Bucket: bench.bucket.bucket }),
    );
    client.destroy();
    return Uploads.map((upload) => upload.Key);
  };

  test("a clock an hour fast does not matter, and ages are by the store's", async () => {
    const now = Date.now.bind(Date);
    vi.spyOn(Date, "now").mockImplementation(() => now() + 3_600_000);
    const store = bench.store();
    await store.put("key", bytes(1));
    for await (const { age } of store.list("")) expect(age).toBeLessThan(60_000);
    await bench.store().putStream("other", blocks(9));
  });

  describe("a multipart upload leaves no part behind", () => {
    test("when its source fails", async () => {
      const failure = new Error("the source failed");
      const source = async function* () {
        yield* blocks(17);
        throw failure;
      };
      expect(await rejection(bench.store().putStream("key", source()))).toBe(failure);
      expect(await openUploads()).toEqual([]);
    });

    test("when it is aborted while parts are under way, and the source never goes on", async () => {
      const aborter = new AbortController();
      const { endpoint } = await bench.proxy({
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
      expect(await rejection(bench.store({ endpoint }).putStream("key", source(), { signal }))).toBe(
        signal.reason,
      );
      expect(await openUploads()).toEqual([]);
    });

    test("when a part is refused, and the source never goes on", async () => {
      const { endpoint } = await bench.proxy({
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
      await expectKind(bench.store({ endpoint }).putStream("key", source()), "throttled");
      expect(await openUploads()).toEqual([]);
    });

    test("and a small one is no multipart upload at all", async () => {
      const { endpoint, requests } = await bench.proxy({});
      await bench.store({ endpoint }).putStream("key", blocks(8));
      expect(requests.map((line) => line.split("?")[0])).toEqual([
        `PUT /${bench.bucket.bucket}/${bench.prefix}key`,
      ]);
    });
  });

  test("64 MiB are streamed in bounded memory, up and down", async () => {
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
    const store = bench.store();
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
      const provider = vi.fn(async () =>
        provider.mock.calls.length === 1 ? WRONG : bench.bucket.credentials,
      );
      const { endpoint, requests } = await bench.proxy({});
      const store = bench.store({ endpoint, credentials: provider });
      await store.put("key", { size: 20 * MIB, chunks: () => blocks(20) });
      expect(requests).toHaveLength(2);
      expect((await store.get("key")).size).toBe(20 * MIB);
    });

    test.each([
      ["gives more than it stated", 19 * MIB, () => blocks(20)],
      ["gives less than it stated", 21 * MIB, () => blocks(20)],
    ])("that %s stores nothing", async (_, size, chunks) => {
      const store = bench.store();
      await expectKind(store.put("key", { size, chunks }), "invalid-request");
      await expectKind(store.get("key"), "not-found");
    });

    test("that goes on after what it stated, much later, stores nothing", async () => {
      const store = bench.store();
      const chunks = async function* () {
        yield* blocks(20);
        // Time enough for the server, if it had all.
        for (let i = 0; i < 20; i++) await expectKind(store.get("key"), "not-found");
        yield new Uint8Array(1);
      };
      await expectKind(store.put("key", { size: 20 * MIB, chunks }), "invalid-request");
    });

    test("that fails stores nothing, and is closed", async () => {
      const store = bench.store();
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
      const { endpoint, requests } = await bench.proxy({});
      const store = bench.store({ endpoint });
      const [first, second] = await Promise.all([store.capabilities(), store.capabilities()]);
      expect([first, second]).toEqual([{ conditionalCreate: "atomic" }, { conditionalCreate: "atomic" }]);
      await store.put("key", bytes(1), { ifNoneMatch: "*" });
      expect(requests.filter((line) => line.startsWith("PUT"))).toHaveLength(9);
      expect(await keysOf(store)).toEqual(["key"]);
    });

    test("ten writers that find it out at the same time agree", async () => {
      const all = await Promise.all(Array.from({ length: 10 }, () => bench.store().capabilities()));
      expect(new Set(all.map((one) => one.conditionalCreate))).toEqual(new Set(["atomic"]));
      expect(await keysOf(bench.store())).toEqual([]);
    });

    test("a probe left behind by credentials that may not delete tells the same", async () => {
      await bench.store().put(".sluice-probe", bytes(1));
      expect(await bench.store().capabilities()).toEqual({ conditionalCreate: "atomic" });
      expect(await keysOf(bench.store())).toEqual([".sluice-probe"]);
    });

    test("is none where the header is ignored: then a look before the put", async () => {
      const strip = { header: "if-none-match", secretAccessKey: bench.bucket.credentials.secretAccessKey };
      const { endpoint } = await bench.proxy({ strip });
      const store = bench.store({ endpoint });
      expect(await store.capabilities()).toEqual({ conditionalCreate: "none" });
      await store.put("key", bytes(1), { ifNoneMatch: "*" });
      await expectKind(store.put("key", bytes(2), { ifNoneMatch: "*" }), "precondition-failed");
    });

    test("is none where the header is refused, and then it is not sent", async () => {
      const { endpoint } = await bench.proxy({
        answer: (incoming, response) => {
          if (incoming.headers["if-none-match"] === undefined) return false;
          incoming.resume().on("end", () => response.writeHead(501).end());
          return true;
        },
      });
      const store = bench.store({ endpoint });
      expect(await store.capabilities()).toEqual({ conditionalCreate: "none" });
      await store.put("key", bytes(1), { ifNoneMatch: "*" });
      await expectKind(store.put("key", bytes(2), { ifNoneMatch: "*" }), "precondition-failed");
    });

    test.each([
      ["atomic", 4],
      ["none", 4],
      ["network", 5],
    ])("is %s where the network cuts %i of the eight requests", async (found, cuts) => {
      let left = cuts;
      const { endpoint } = await bench.proxy({
        answer: (incoming) => {
          if (left === 0) return false;
          left -= 1;
          incoming.socket.destroy();
          return true;
        },
        ...(found === "none" && {
          strip: { header: "if-none-match", secretAccessKey: bench.bucket.credentials.secretAccessKey },
        }),
      });
      const asked = bench.store({ endpoint }).capabilities();
      if (found === "network") await expectKind(asked, "network");
      else expect(await asked).toEqual({ conditionalCreate: found });
    });

    test("that could not be found out is asked again", async () => {
      let failing = true;
      const { endpoint } = await bench.proxy({
        answer: (incoming, response) => {
          if (failing) incoming.resume().on("end", () => response.writeHead(503).end());
          return failing;
        },
      });
      const store = bench.store({ endpoint });
      await expectKind(store.capabilities(), "throttled");
      failing = false;
      expect(await store.capabilities()).toEqual({ conditionalCreate: "atomic" });
    });
  });

  test("keys that XML cannot carry are listed and deleted, with others", async () => {
    const store = bench.store();
    const names = ["a", "control \u0001", "z "];
    for (const name of names) await store.put(name, bytes(1));
    expect(await keysOf(store)).toEqual(names);
    await store.delete(names);
    expect(await keysOf(store)).toEqual([]);
  });

  test("of a delete, a key's own failure is told, and the others are deleted", async () => {
    const { endpoint } = await bench.proxy({
      answer: (incoming, response) => {
        if (incoming.method !== "POST") return false;
        const error = `<Error><Key>${bench.prefix}b</Key><Code>AccessDenied</Code></Error>`;
        incoming.resume().on("end", () => response.end(`<DeleteResult>${error}</DeleteResult>`));
        return true;
      },
    });
    const error = await rejection(bench.store({ endpoint }).delete(["a", "b"]));
    expect(error).toMatchObject({ kind: "access-denied", detail: { key: "b" } });
  });
});
