import { describe, expect, test, vi } from "vitest";
import { StoreError } from "../../src/errors.ts";
import { collect } from "../../src/store/object-store.ts";
import type { S3Store } from "../../src/store/s3-store.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { Bench, blocks, keysOf, MIB, read, rejection, WRONG } from "./bench.ts";
import { ownGateway, server } from "./server.ts";

describe.skipIf(server === null)("S3Store", () => {
  const bench = new Bench();
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
  describe("what fails, by its kind", () => {
    test("no such bucket", async () => {
      for (const call of Object.values(everyMethod(bench.store({ bucket: "sluice-none" })))) {
        await expectKind(call(), "no-such-bucket");
      }
    });

    test.each([
      ["key id", () => WRONG],
      ["secret", () => ({ ...WRONG, accessKeyId: bench.bucket.credentials.accessKeyId })],
    ])("a wrong %s, and nothing of it in the error", async (_, keys) => {
      for (const call of Object.values(everyMethod(bench.store({ credentials: keys() })))) {
        const error = await rejection(call());
        expect(error).toMatchObject({ code: "SLUICE_STORE", kind: "access-denied", transient: false });
        expectNoSecrets(error);
      }
    });

    test("no server", async () => {
      const gateway = await ownGateway();
      await gateway.stop();
      for (const call of Object.values(everyMethod(bench.store({ endpoint: gateway.endpoint })))) {
        const error = await rejection(call());
        expect(error).toMatchObject({ kind: "network", transient: true });
        expectNoSecrets(error);
      }
    });

    test("a server that hangs, and then the same requests when it goes on", async () => {
      const gateway = await ownGateway();
      bench.afterwards(() => gateway.stop());
      const { endpoint } = gateway;
      const patient = bench.store({ endpoint });
      await patient.put("key", bytes(10));
      gateway.pause();
      const waiting = patient.get("key");
      const impatient = bench.store({ endpoint }, 200);
      for (const call of [
        () => impatient.put("new", bytes(10)),
        () => impatient.get("key"),
        () => keysOf(impatient),
      ]) {
        await expectKind(call(), "network");
      }
      gateway.resume();
      expect((await waiting).size).toBe(10);
      await patient.put("new", bytes(20));
      expect(await read(patient, "new")).toEqual(bytes(20));
    });

    test("a server that is killed and started again", async () => {
      const gateway = await ownGateway();
      bench.afterwards(() => gateway.stop());
      const store = bench.store({ endpoint: gateway.endpoint });
      await store.put("key", bytes(10));
      await gateway.stop();
      await expectKind(store.get("key"), "network");
      await gateway.start();
      expect(await read(store, "key")).toEqual(bytes(10));
    });

    test("an answer that stops in the middle", async () => {
      await bench.store().put("key", bytes(3 * MIB));
      const { endpoint } = await bench.proxy({
        response: (upstream, response) => {
          let seen = 0;
          upstream.on("data", (chunk: Buffer) => {
            seen += chunk.length;
            if (seen > MIB) response.destroy();
          });
        },
      });
      await expectKind(read(bench.store({ endpoint }), "key"), "network");
    });

    test("an answer that ends too early, and looks whole", async () => {
      await bench.store().put("key", bytes(3 * MIB));
      const { endpoint } = await bench.proxy({
        response: (upstream, response) => {
          delete upstream.headers["content-length"];
          upstream.once("data", () =>
            queueMicrotask(() => {
              upstream.unpipe(response);
              response.end();
            }),
          );
        },
      });
      const { body } = await bench.store({ endpoint }).get("key", { range: { offset: 0, length: 2 * MIB } });
      await expectKind(collect(body, 3 * MIB), "network");
    });

    test("an answer that hangs in the middle", async () => {
      await bench.store().put("key", bytes(3 * MIB));
      const { endpoint } = await bench.proxy({
        response: (upstream, response) => {
          upstream.once("data", () => {
            upstream.unpipe(response);
            upstream.pause();
          });
        },
      });
      await expectKind(read(bench.store({ endpoint }, 200), "key"), "network");
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
      const { endpoint } = await bench.proxy({
        answer: (incoming, response) => {
          incoming
            .resume()
            .on("end", () => response.writeHead(status, headers).end(code === "" ? "<!html" : text));
          return true;
        },
      });
      const error = await rejection(keysOf(bench.store({ endpoint })));
      expect(error).toBeInstanceOf(StoreError);
      expect(error).toMatchObject(expected);
      expect((error as StoreError).detail.retryAfterMs).toBe(retryAfterMs);
      expectNoSecrets(error);
    });
  });

  describe("credentials", () => {
    test("refused once are asked for again, once for many requests", async () => {
      const provider = vi.fn(async () =>
        provider.mock.calls.length === 1 ? WRONG : bench.bucket.credentials,
      );
      const store = bench.store({ credentials: provider });
      await Promise.all(Array.from({ length: 10 }, (_, i) => store.put(`${i}`, bytes(i))));
      await store.put("large", { size: 9 * MIB, chunks: () => blocks(9) });
      expect(provider).toHaveBeenCalledTimes(2);
    });

    test("refused in the middle of a multipart upload", async () => {
      const provider = vi.fn(async () => bench.bucket.credentials);
      let expired = false;
      const { endpoint } = await bench.proxy({
        answer: (incoming, response) => {
          if (expired || !incoming.url?.includes("partNumber=2")) return false;
          expired = true;
          const text = "<Error><Code>ExpiredToken</Code></Error>";
          incoming.resume().on("end", () => response.writeHead(400).end(text));
          return true;
        },
      });
      const store = bench.store({ endpoint, credentials: provider });
      await store.putStream("key", blocks(20));
      expect((await read(store, "key")).length).toBe(20 * MIB);
      expect(provider).toHaveBeenCalledTimes(2);
    });

    test("refused again are given up", async () => {
      const provider = vi.fn(async () => WRONG);
      await expectKind(bench.store({ credentials: provider }).put("key", bytes(1)), "access-denied");
      expect(provider).toHaveBeenCalledTimes(2);
    });

    test("that cannot be had", async () => {
      const failure = new Error(`vault said: token=${WRONG.secretAccessKey}`);
      const error = await rejection(bench.store({ credentials: () => Promise.reject(failure) }).get("key"));
      expect(error).toMatchObject({ kind: "access-denied" });
      expectNoSecrets(error);
      const unreachable = Object.assign(new Error("x"), { code: "ENOTFOUND" });
      await expectKind(bench.store({ credentials: () => Promise.reject(unreachable) }).get("key"), "network");
    });

    test("that never come do not outlive the signal", async () => {
      const aborter = new AbortController();
      const credentials = () => {
        aborter.abort();
        return new Promise<never>(() => undefined);
      };
      const { signal } = aborter;
      expect(await rejection(bench.store({ credentials }).get("key", { signal }))).toBe(signal.reason);
    });
  });
});

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
