import { expect, test } from "vitest";
import { createGateway } from "../../src/gateway/gateway.ts";
import type { GatewayOptions } from "../../src/gateway/options.ts";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { byName } from "./listen.ts";
import { as, protocol, useServers } from "./server.ts";
import { ManualTimer } from "./timers.ts";

const servers = useServers();
const key = "snapshots/0000000000000001.sqlite.zst";
const IDLE_MS = 1111;

function gatewayOver(store: MemoryStore, options: Partial<GatewayOptions> = {}) {
  const timer = new ManualTimer();
  const gateway = createGateway({ store, authorize: byName, idleMs: IDLE_MS, timer, ...options });
  const request = (query: string, body?: BodyInit, name = "alice") =>
    new Request(`https://gateway.example/?${query}`, {
      headers: { ...protocol, authorization: `Bearer ${name}` },
      ...(body !== undefined && { method: "POST", body, duplex: "half" }),
    } as RequestInit);
  const ask = (query: string, body?: BodyInit, name?: string) => gateway(request(query, body, name));
  return { timer, ask };
}

/** A body that gives some bytes and then nothing, and does not end. Knows when its reader has left. */
function stuck(given: Uint8Array) {
  let leave: () => void = () => undefined;
  const left = new Promise<void>((resolve) => {
    leave = resolve;
  });
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(given),
    cancel: () => leave(),
  });
  return { body, left };
}

const kindOf = async (response: Response) => ((await response.json()) as { kind: string }).kind;

test.each([
  ["longer than it says", "size=2", 413, "invalid-request"],
  ["shorter than it says", "size=4", 400, "network"],
  ["larger than a part may be", "size=100000", 413, "invalid-request"],
])("a body %s stores nothing", async (_, size, status, kind) => {
  const store = new MemoryStore();
  const { ask } = gatewayOver(store, { partBytes: 65_536 });
  const response = await ask(`verb=put&key=${key}&${size}`, "abc");
  expect(response.status).toBe(status);
  expect(await kindOf(response)).toBe(kind);
  await expectKind(store.get(`alice/${key}`), "not-found");
});

test("a body without end is left as soon as it is longer than it says", async () => {
  const { ask } = gatewayOver(new MemoryStore());
  const endless = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(bytes(10_000)) });
  expect((await ask(`verb=put&key=${key}&size=20000`, endless)).status).toBe(413);
});

test("a body that pauses is left, and its room is free again", async () => {
  const { ask, timer } = gatewayOver(new MemoryStore());
  const { body, left } = stuck(bytes(3));
  const answer = ask(`verb=put&key=${key}&size=10`, body);
  // Once for the bytes that come, once for those that do not.
  void timer.pass(IDLE_MS).then(() => timer.pass(IDLE_MS));
  const response = await answer;
  expect(response.status).toBe(408);
  expect(await kindOf(response)).toBe("network");
  await left;
  expect(timer.waiting(IDLE_MS)).toBe(0);
});

test("a body that trickles is left when it took too long as a whole", async () => {
  const { ask, timer } = gatewayOver(new MemoryStore());
  const { body, left } = stuck(bytes(1));
  const answer = ask(`verb=put&key=${key}&size=4096`, body);
  await timer.pass(IDLE_MS + 1000);
  expect((await answer).status).toBe(408);
  await left;
});

test("of a refused request's body no more is heard than an honest client would send", async () => {
  const timer = new ManualTimer();
  const store = new MemoryStore();
  const gateway = createGateway({ store, authorize: () => null, timer, partBytes: 65_536 });
  let given = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        given += 10_000;
        controller.enqueue(bytes(10_000));
      },
    },
    { highWaterMark: 0 },
  );
  const init = { method: "POST", headers: protocol, body, duplex: "half" } as RequestInit;
  const response = await gateway(new Request("https://gateway.example/?verb=put", init));
  expect(response.status).toBe(401);
  expect(given).toBeLessThan(100_000);
});

test("bodies in memory are bounded, for each caller and for all", async () => {
  const { ask } = gatewayOver(new MemoryStore(), { partBytes: 65_536, maxBufferedBytes: 4 * 65_536 });
  const put = (name: string, body: BodyInit) => ask(`verb=put&key=${key}&size=60000`, body, name);
  void put("alice", stuck(bytes(1)).body);
  const again = await put("alice", new Blob([new Uint8Array(60_000)]));
  expect([again.status, await kindOf(again)]).toEqual([503, "throttled"]);
  expect(again.headers.get("retry-after")).toBe("1");
  for (const name of ["bob", "carol", "dave"]) void put(name, stuck(bytes(1)).body);
  const other = await put("eve", new Blob([new Uint8Array(60_000)]));
  expect(await kindOf(other)).toBe("throttled");
});

test("the room of bodies that have come is free again, also of those that failed", async () => {
  const { ask } = gatewayOver(new MemoryStore(), { partBytes: 65_536, maxBufferedBytes: 4 * 65_536 });
  for (let i = 0; i < 10; i++) {
    const body = new Blob([new Uint8Array(60_000)]);
    expect((await ask(`verb=put&key=${key}&size=60000`, body)).status).toBe(200);
    expect((await ask(`verb=put&key=${key}&size=60001`, body)).status).toBe(400);
  }
});

test("an object that is too large is refused, whether its size is known or not", async () => {
  const store = new MemoryStore();
  const { url } = await servers.gateway({ store, partBytes: 65_536, maxObjectBytes: 200_000 });
  const client = new GatewayStore(url, as("alice"));
  const chunks = async function* () {
    for (let i = 0; i < 5; i++) yield bytes(50_000);
  };
  await expectKind(client.putStream(key, chunks()), "invalid-request");
  await expectKind(client.put(key, { size: 250_000, chunks }), "invalid-request");
  await expectKind(client.put(key, bytes(250_000)), "invalid-request");
  await expectKind(store.get(`alice/${key}`), "not-found");
  await client.put(key, bytes(200_000));
});

test("a reader that takes nothing gives the store's body back", async () => {
  const store = new MemoryStore();
  await store.put(`alice/${key}`, bytes(500_000));
  let returned: () => void = () => undefined;
  const back = new Promise<void>((resolve) => {
    returned = resolve;
  });
  const watched = new (class extends MemoryStore {
    override async get() {
      const result = await store.get(`alice/${key}`);
      const body = (async function* () {
        try {
          yield* result.body;
        } finally {
          returned();
        }
      })();
      return { ...result, body };
    }
  })();
  const { ask, timer } = gatewayOver(watched);
  const response = await ask(`verb=get&key=${key}`);
  const reader = response.body!.getReader();
  await reader.read();
  await timer.pass(IDLE_MS);
  await back;
  await expect(reader.read()).rejects.toThrow();
});

test("what the store says stays inside, and the operator is told", async () => {
  const told: unknown[] = [];
  const failure = new Error("s3://hush-bucket/?X-Amz-Signature=hush");
  class Failing extends MemoryStore {
    override async put(): Promise<void> {
      throw failure;
    }
  }
  const { ask } = gatewayOver(new Failing(), { onError: (error) => told.push(error) });
  const response = await ask(`verb=put&key=${key}&size=1`, "x");
  expect(response.status).toBe(500);
  const text = JSON.stringify([...response.headers]) + (await response.text());
  expect(text).not.toContain("hush");
  expect(text).not.toContain("alice");
  expect(told).toEqual([failure]);
});
