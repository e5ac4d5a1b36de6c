import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { toNodeListener } from "../../node/node-listener.ts";
import { StoreError } from "../../src/errors.ts";
import { createGateway, type Gateway } from "../../src/gateway/gateway.ts";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect, type ObjectStore } from "../../src/store/object-store.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { byName } from "./listen.ts";
import { as, protocol, useServers } from "./server.ts";
import { ManualTimer } from "./timers.ts";

const servers = useServers();
const key = "snapshots/0000000000000001.sqlite.zst";
const segment = "wal/0/0000000000000001.wal.zst";
const PART = 65_536;
const options = { authorize: byName, partBytes: PART };

async function* parts(count: number, seed = 0): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield bytes(PART, seed + i);
}
async function whole(count: number, seed = 0): Promise<Buffer> {
  return Buffer.from(await collect(parts(count, seed), count * PART));
}
async function stored(store: ObjectStore, name: string): Promise<Buffer> {
  return Buffer.from(await collect((await store.get(name)).body, 100 * PART));
}

/** A server that meddles with the requests for a verb: their first tries, as many as `times`. */
async function meddling(
  gateway: Gateway,
  verb: string,
  how: "cut the request" | "lose the answer",
  times: number,
): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  let left = times;
  const isMeant = (url: string) => {
    const { searchParams } = new URL(url, "http://localhost");
    return searchParams.get("verb") === verb && ["2", null].includes(searchParams.get("number"));
  };
  const listener = toNodeListener(async (request) => {
    const response = await gateway(request);
    if (how === "lose the answer" && isMeant(request.url) && left-- > 0) throw new Error("lost");
    return response;
  });
  const server = createServer((incoming, outgoing) => {
    seen.push(new URL(incoming.url ?? "", "http://localhost").searchParams.get("verb") ?? "");
    if (how === "cut the request" && isMeant(incoming.url ?? "") && left-- > 0)
      incoming.once("data", () => incoming.socket.destroy());
    else listener(incoming, outgoing);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, seen };
}

describe("a part whose", () => {
  test.each(["cut the request", "lose the answer"] as const)(
    "connection breaks is sent again and is there once: %s",
    async (how) => {
      const store = new MemoryStore();
      const { url, seen } = await meddling(createGateway({ store, ...options }), "part", how, 2);
      await new GatewayStore(url, as("alice")).putStream(key, parts(5));
      expect(seen.filter((verb) => verb === "part")).toHaveLength(7);
      expect((await stored(store, `alice/${key}`)).equals(await whole(5))).toBe(true);
    },
  );

  test("connection breaks every time gives up, unclear, and leaves nothing", async () => {
    const store = new MemoryStore();
    const { url, seen } = await meddling(
      createGateway({ store, ...options }),
      "part",
      "lose the answer",
      Number.POSITIVE_INFINITY,
    );
    await expectKind(new GatewayStore(url, as("alice")).putStream(key, parts(5)), "network");
    expect(seen.at(-1)).toBe("abort");
    await expectKind(store.get(`alice/${key}`), "not-found");
  });
});

describe("an answer that is lost", () => {
  test("to complete: it is asked again, and the outcome is the same", async () => {
    const store = new MemoryStore();
    const { url } = await meddling(createGateway({ store, ...options }), "complete", "lose the answer", 2);
    const client = new GatewayStore(url, as("alice"));
    await client.put(segment, { size: 3 * PART, chunks: () => parts(3) }, { ifNoneMatch: "*" });
    expect((await stored(store, `alice/${segment}`)).equals(await whole(3))).toBe(true);
  });

  test.each([
    ["put", 1],
    ["complete", 3],
  ])("to %s, for good: unclear, and the next try collides with our own object", async (verb, count) => {
    const store = new MemoryStore();
    const { url } = await meddling(createGateway({ store, ...options }), verb, "lose the answer", 4);
    const client = new GatewayStore(url, as("alice"));
    const body = { size: count * PART, chunks: () => parts(count) };
    if (verb === "complete") await expectKind(client.put(segment, body, { ifNoneMatch: "*" }), "network");
    else
      for (let i = 0; i < 4; i++)
        await expectKind(client.put(segment, body, { ifNoneMatch: "*" }), "network");
    await expectKind(client.put(segment, body, { ifNoneMatch: "*" }), "precondition-failed");
    expect((await stored(store, `alice/${segment}`)).equals(await whole(count))).toBe(true);
  });
});

test("of writers that create one object in parts exactly one wins, and its bytes are stored", async () => {
  const store = new MemoryStore();
  const { url } = await servers.gateway({ store, ...options });
  for (let round = 0; round < 5; round++) {
    const name = `wal/0/000000000000000${round + 1}.wal.zst`;
    const racers = [1, 2, 3, 4].map((seed) =>
      new GatewayStore(url, as("alice")).put(
        name,
        { size: 3 * PART, chunks: () => parts(3, 10 * seed) },
        { ifNoneMatch: "*" },
      ),
    );
    const outcomes = await Promise.allSettled(racers);
    const won = outcomes.flatMap(({ status }, i) => (status === "fulfilled" ? [i + 1] : []));
    expect(won).toHaveLength(1);
    expect((await stored(store, `alice/${name}`)).equals(await whole(3, 10 * won[0]!))).toBe(true);
    for (const outcome of outcomes)
      if (outcome.status === "rejected")
        expect(outcome.reason).toMatchObject({ kind: "precondition-failed" });
  }
});

test("a gateway that starts anew in the middle: the upload is gone, and the next one goes through", async () => {
  const store = new MemoryStore();
  const first = await servers.gateway({ store, ...options });
  const client = new GatewayStore(first.url, as("alice"));
  const seen: (string | null)[] = [];
  const second = createGateway({ store, ...options });
  const counting: Gateway = (request) => {
    seen.push(new URL(request.url).searchParams.get("verb"));
    return second(request);
  };
  let restarted = false;
  const source = async function* () {
    yield* parts(3);
    if (!restarted) {
      restarted = true;
      await first.close();
      await servers.listen(counting, first.port);
    }
    yield* parts(2, 3);
  };
  const failure = await client.putStream(key, source()).catch((error: unknown) => error);
  expect(failure).toMatchObject({ kind: "unavailable", transient: true, detail: { status: 410 } });
  // No use in asking again.
  expect(seen).toEqual(["part", "abort"]);
  await expectKind(store.get(`alice/${key}`), "not-found");
  await client.putStream(key, source());
  expect((await stored(store, `alice/${key}`)).equals(await whole(5))).toBe(true);
});

test.each([1, 128])(
  "a store that fails in the middle fails the upload with its kind, parts × %i",
  async (times) => {
    class Full extends MemoryStore {
      override async putStream(name: string, body: AsyncIterable<Uint8Array>): Promise<void> {
        for await (const _ of body) throw new StoreError("no-space", `${name}: the disk /hush is full`);
      }
    }
    const { url } = await servers.gateway({ store: new Full(), partBytes: times * PART });
    const source = parts(5 * times);
    const failure = await new GatewayStore(url, as("alice")).putStream(key, source).catch((error) => error);
    expect(failure).toMatchObject({ code: "SLUICE_STORE", kind: "no-space", detail: { key, status: 507 } });
    expect(failure.message).not.toContain("hush");
  },
);

describe("by hand", () => {
  /** Requests of one caller to a gateway whose time stands still. */
  function upload(store: ObjectStore, more: { maxUploads?: number; signal?: AbortSignal } = {}) {
    const timer = new ManualTimer();
    const gateway = createGateway({ store, ...options, timer, uploadIdleMs: 777, ...more });
    const post = async (query: string, body = new Uint8Array(), size = body.length) => {
      const url = `https://gateway.example/?key=${key}&size=${size}&${query}`;
      const headers = { ...protocol, authorization: "Bearer alice" };
      const response = await gateway(new Request(url, { method: "POST", headers, body }));
      return { status: response.status, answer: (await response.json()) as { upload: string; kind: string } };
    };
    return {
      timer,
      async begin(): Promise<string> {
        const url = `https://gateway.example/?key=${key}&verb=begin`;
        const headers = { ...protocol, authorization: "Bearer alice" };
        const response = await gateway(new Request(url, { method: "POST", headers }));
        return ((await response.json()) as { upload: string }).upload;
      },
      part: (id: string, number: number, body: string) =>
        post(`verb=part&upload=${id}&number=${number}`, new TextEncoder().encode(body)),
      cut: (id: string, number: number, size: number, body: string) =>
        post(`verb=part&upload=${id}&number=${number}`, new TextEncoder().encode(body), size),
      complete: (id: string, count: number) => post(`verb=complete&upload=${id}&parts=${count}`),
      abort: (id: string) => post(`verb=abort&upload=${id}`),
    };
  }

  test("a part again is one part; another one in its place, or out of turn, is refused", async () => {
    const store = new MemoryStore();
    const { begin, part, complete } = upload(store);
    const id = await begin();
    expect((await part(id, 2, "two")).status).toBe(409);
    expect((await part(id, 0, "zero")).status).toBe(409);
    for (const _ of [1, 2, 3]) expect((await part(id, 1, "one,")).status).toBe(200);
    expect((await part(id, 1, "ONE,")).status).toBe(409);
    expect((await part(id, 3, "three")).status).toBe(409);
    expect((await part(id, 2, "two")).status).toBe(200);
    expect((await part(id, 1, "one,")).status).toBe(409);
    expect((await part(id, 3, "")).status).toBe(400);
    expect((await complete(id, 3)).status).toBe(409);
    for (const _ of [1, 2, 3]) expect((await complete(id, 2)).status).toBe(200);
    expect((await part(id, 3, "three")).status).toBe(409);
    expect((await stored(store, `alice/${key}`)).toString()).toBe("one,two");
  });

  test("what came of a part that was cut short is not stored twice, and must be the same", async () => {
    const store = new MemoryStore();
    const { begin, part, cut, complete } = upload(store);
    const id = await begin();
    await part(id, 1, "one,");
    for (const beginning of ["t", "tw", "two, and th"])
      expect((await cut(id, 2, 13, beginning)).answer.kind).toBe("network");
    expect((await part(id, 2, "two, or three")).status).toBe(409);
    expect((await part(id, 2, "tw")).status).toBe(409);
    expect((await complete(id, 2)).status).toBe(409);
    expect((await part(id, 2, "two, and thre")).status).toBe(200);
    expect((await complete(id, 2)).status).toBe(200);
    expect((await stored(store, `alice/${key}`)).toString()).toBe("one,two, and thre");
  });

  test("the same part at the same time, from a client that is impatient, is one part", async () => {
    const store = new MemoryStore();
    const { begin, part, complete } = upload(store);
    const id = await begin();
    const answers = await Promise.all([part(id, 1, "one,"), part(id, 1, "one,"), part(id, 1, "one,")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    await part(id, 2, "two");
    await Promise.all([complete(id, 2), complete(id, 2)]);
    expect((await stored(store, `alice/${key}`)).toString()).toBe("one,two");
  });

  test("an abort, and again, leaves nothing; what comes after it is told", async () => {
    const store = new MemoryStore();
    const { begin, part, complete, abort } = upload(store);
    const id = await begin();
    await part(id, 1, "one");
    expect((await abort(id)).status).toBe(200);
    expect((await abort(id)).status).toBe(200);
    expect((await part(id, 2, "two")).answer.kind).toBe("unavailable");
    expect((await complete(id, 1)).answer.kind).toBe("unavailable");
    await expectKind(store.get(`alice/${key}`), "not-found");
  });

  test("an upload that its client forgot is ended, and the store throws away what it had", async () => {
    let ended: (reason: unknown) => void = () => undefined;
    const aborted = new Promise((resolve) => {
      ended = resolve;
    });
    class Watched extends MemoryStore {
      override async putStream(
        ...[name, body, options]: Parameters<MemoryStore["putStream"]>
      ): Promise<void> {
        return super.putStream(name, body, options).catch((error) => {
          ended(error);
          throw error;
        });
      }
    }
    const store = new Watched();
    const { begin, part, complete, timer } = upload(store, { maxUploads: 1 });
    const id = await begin();
    await part(id, 1, "one");
    expect(timer.waiting(777)).toBe(1);
    // Bytes have come since the request began: it goes on.
    await timer.pass(777);
    expect(timer.waiting(777)).toBe(1);
    await timer.pass(777);
    expect(await aborted).toBeInstanceOf(StoreError);
    expect((await complete(id, 1)).status).toBe(410);
    expect(timer.waiting(777)).toBe(0);
    await expectKind(store.get(`alice/${key}`), "not-found");
    expect(await begin()).toMatch(/^[0-9a-f]{32}$/);
  });

  test("an outcome is kept for a while, and not for ever", async () => {
    const { begin, part, complete, timer } = upload(new MemoryStore());
    const id = await begin();
    await part(id, 1, "one");
    await complete(id, 1);
    expect((await complete(id, 1)).status).toBe(200);
    await timer.pass(777);
    expect((await complete(id, 1)).status).toBe(410);
    for (let i = 0; i < 100; i++) {
      const other = await begin();
      await part(other, 1, "one");
      await complete(other, 1);
    }
    expect(timer.waiting(777)).toBeLessThan(20);
  });

  test("a gateway that shuts down ends what is open", async () => {
    const store = new MemoryStore();
    const stop = new AbortController();
    const { begin, part, complete } = upload(store, { signal: stop.signal });
    const id = await begin();
    await part(id, 1, "one");
    stop.abort();
    expect((await complete(id, 1)).status).toBe(503);
    await expectKind(store.get(`alice/${key}`), "not-found");
  });
});
