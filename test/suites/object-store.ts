import { beforeEach, describe, expect, test } from "vitest";
import type { StoreErrorKind } from "../../src/errors.ts";
import {
  collect,
  compareKeys,
  type GetResult,
  type ObjectInfo,
  type ObjectStore,
  type PutBody,
} from "../../src/store/object-store.ts";

const MIB = 1024 * 1024;

export interface ObjectStoreSuiteOptions {
  /** How many objects the paging test writes; S3 lists 1,000 a page. */
  readonly manyKeys?: number;
}

/** What every ObjectStore must do. `makeStore` answers an empty store each time. */
export function objectStoreSuite(
  name: string,
  makeStore: () => Promise<ObjectStore>,
  { manyKeys = 2500 }: ObjectStoreSuiteOptions = {},
): void {
  describe(`${name} as an object store`, () => {
    let store: ObjectStore;
    beforeEach(async () => {
      store = await makeStore();
    });

    const read = async (key: string): Promise<Uint8Array> => collect((await store.get(key)).body, 64 * MIB);
    const keys = async (prefix: string, startAfter?: string): Promise<string[]> =>
      (await all(store.list(prefix, startAfter === undefined ? {} : { startAfter }))).map((info) => info.key);

    describe("put and get", () => {
      test("an object comes back as it was put, with its size", async () => {
        await store.put("wal/0/a.wal.zst", bytes(1000));
        const result = await store.get("wal/0/a.wal.zst");
        expect(result.size).toBe(1000);
        expect(result.etag).not.toBe("");
        await expectBody(result, bytes(1000));
      });

      test("an empty object is an object", async () => {
        await store.put("empty", new Uint8Array());
        const result = await store.get("empty");
        expect(result.size).toBe(0);
        await expectBody(result, new Uint8Array());
        expect((await all(store.list(""))).map(({ key, size }) => ({ key, size }))).toEqual([
          { key: "empty", size: 0 },
        ]);
      });

      test("a put replaces what was there, and the etag changes even for bytes of the same length", async () => {
        const etags = new Set<string>();
        for (let i = 0; i < 4; i++) {
          await store.put("key", bytes(10, i));
          const result = await store.get("key");
          etags.add(result.etag);
          await expectBody(result, bytes(10, i));
        }
        expect(etags.size).toBe(4);
      });

      test("the etag stays while the object stays", async () => {
        await store.put("key", bytes(10), { ifNoneMatch: "*" });
        const first = await store.get("key");
        await expectBody(first, bytes(10));
        const second = await store.get("key", { range: { offset: 0, length: 1 } });
        await expectBody(second, bytes(1));
        expect(second.etag).toBe(first.etag);
      });

      test("a reader's own memory gets the range from its beginning, whether the store uses it or not", async () => {
        const whole = Uint8Array.from({ length: 3 * MIB }, (_, i) => i % 251);
        await store.put("key", whole);
        const range = { offset: 1000, length: 2 * MIB + 17 };
        // Pages have shared memory only where they are isolated from other origins.
        const Memory = globalThis.SharedArrayBuffer ?? ArrayBuffer;
        const memory = new Uint8Array(new Memory(range.length + 40)).fill(255);
        const into = memory.subarray(20);
        const { body } = await store.get("key", { range, into });
        const read = await collect(body, range.length, into);
        expect([read.buffer === memory.buffer, read.byteOffset, read.length]).toEqual([
          true,
          20,
          range.length,
        ]);
        const expected = whole.subarray(range.offset, range.offset + range.length);
        expect(read.every((byte, i) => byte === expected[i])).toBe(true);
        expect([...memory.subarray(0, 20), ...memory.subarray(20 + range.length)]).toEqual(
          Array(40).fill(255),
        );
      });

      test("the store keeps its own copy of the bytes", async () => {
        const mine = bytes(100);
        await store.put("key", mine);
        mine.fill(0);
        const got = await read("key");
        expectBytes(got, bytes(100));
        got.fill(0);
        expectBytes(await read("key"), bytes(100));
      });

      test("5 MiB and a little more", async () => {
        const size = 5 * MIB + 3;
        await store.put("large", bytes(size));
        expectBytes(await read("large"), bytes(size));
      });

      test("a source of known size is read in chunks", async () => {
        const source = sourceOf(bytes(300_000), 7000);
        await store.put("key", source);
        expectBytes(await read("key"), bytes(300_000));
        await store.put("again", source);
        expectBytes(await read("again"), bytes(300_000));
      });

      test("an empty source is an empty object", async () => {
        await store.put("key", sourceOf(new Uint8Array(), 10));
        expect((await read("key")).length).toBe(0);
      });

      test.each([
        ["more", 99],
        ["less", 101],
      ])("a source that gives %s than it stated stores nothing", async (_, stated) => {
        const source: PutBody = { size: stated, chunks: () => sourceOf(bytes(100), 30).chunks() };
        await rejection(store.put("key", source));
        await expectKind(store.get("key"), "not-found");
        expect(await keys("")).toEqual([]);
      });

      test("a source that fails stores nothing and leaves the old object", async () => {
        await store.put("key", bytes(5));
        await rejection(store.put("key", { size: 100, chunks: () => failing(bytes(10), 3) }));
        expectBytes(await read("key"), bytes(5));
      });

      test("what is not there is not found", async () => {
        await store.put("a/b/c", bytes(1));
        for (const key of ["x", "a", "a/b", "a/b/x", "a/b/c/d", "a/b/cc", "A/b/c~"]) {
          await expectKind(store.get(key), "not-found");
        }
      });

      test("a body may be left before its end, or before its beginning", async () => {
        await store.put("key", bytes(3 * MIB));
        for await (const chunk of (await store.get("key")).body) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        await (await store.get("key")).body[Symbol.asyncIterator]().return?.();
        expectBytes(await read("key"), bytes(3 * MIB));
      });

      test("a body gives chunks, not the whole at once", async () => {
        await store.put("key", bytes(5 * MIB));
        for await (const chunk of (await store.get("key")).body)
          expect(chunk.length).toBeLessThanOrEqual(MIB);
      });

      test("a body is of one version, also when the object is replaced or deleted while it is read", async () => {
        await store.put("key", bytes(300_000, 1));
        const first = await store.get("key");
        await store.put("key", bytes(300_000, 2));
        await expectBody(first, bytes(300_000, 1));
        const second = await store.get("key");
        await store.delete(["key"]);
        await expectBody(second, bytes(300_000, 2));
      });
    });

    describe("legal keys", () => {
      const special = [
        "with space",
        "plus+plus",
        "percent%20",
        "%",
        "tilde~",
        "~",
        "ampersand&equals=",
        "quote'",
        "brackets(x)[y]{z}!",
        "star*at@dollar$",
        "comma,semi;colon:",
        "hash#question?",
        "ünïcødé/日本/🙂",
        "e\u0301 is not \u00e9",
        "dots/a..b/...",
        ".hidden",
        "-",
        "x".repeat(200),
        `${"long/".repeat(200)}end`,
      ];
      test("special characters mean themselves", async () => {
        for (const key of special) await store.put(key, new TextEncoder().encode(key));
        for (const key of special) expect(new TextDecoder().decode(await read(key))).toBe(key);
        expect(await keys("")).toEqual([...special].sort(compareKeys));
        for (const key of special) expect(await keys(key)).toContain(key);
        await store.delete(special);
        expect(await keys("")).toEqual([]);
      });

      const illegal = [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a/..",
        "nul\0",
        "half \ud800 pair",
        "x".repeat(1025),
        "é".repeat(513),
      ];
      test.each(illegal.map((key) => [JSON.stringify(key).slice(0, 30), key]))(
        "%s is refused",
        async (_, key) => {
          await expectKind(store.put(key, bytes(1)), "invalid-request");
          await expectKind(store.put(key, bytes(1), { ifNoneMatch: "*" }), "invalid-request");
          await expectKind(store.putStream(key, stream(bytes(1))), "invalid-request");
          await expectKind(store.get(key), "invalid-request");
          await expectKind(store.delete([key]), "invalid-request");
          expect(await keys("")).toEqual([]);
        },
      );
    });

    describe("conditional create", () => {
      test("creates what is not there, and leaves what is there", async () => {
        await store.put("key", bytes(10, 1), { ifNoneMatch: "*" });
        await expectKind(store.put("key", bytes(20, 2), { ifNoneMatch: "*" }), "precondition-failed");
        expectBytes(await read("key"), bytes(10, 1));
      });

      test("works again after a delete", async () => {
        await store.put("a/key", bytes(10, 1), { ifNoneMatch: "*" });
        await store.delete(["a/key"]);
        await store.put("a/key", bytes(20, 2), { ifNoneMatch: "*" });
        expectBytes(await read("a/key"), bytes(20, 2));
      });

      test("of 12 racers exactly one wins, and its bytes are stored", async () => {
        const { conditionalCreate } = await store.capabilities();
        for (let round = 0; round < 5; round++) {
          const key = `race/${round}`;
          const racers = Array.from({ length: 12 }, (_, i) =>
            store.put(key, i % 2 === 0 ? bytes(5000 + i, i) : sourceOf(bytes(5000 + i, i), 1000), {
              ifNoneMatch: "*",
            }),
          );
          const outcomes = await Promise.allSettled(racers);
          const winners = outcomes.flatMap((outcome, i) => (outcome.status === "fulfilled" ? [i] : []));
          if (conditionalCreate === "atomic") expect(winners).toHaveLength(1);
          const stored = await read(key);
          const winner = stored.length - 5000;
          expect(winners).toContain(winner);
          expectBytes(stored, bytes(5000 + winner, winner));
          for (const outcome of outcomes) {
            if (outcome.status === "rejected") expect(outcome.reason.kind).toBe("precondition-failed");
          }
        }
        expect(await keys("")).toHaveLength(5);
      });
    });

    describe("ranges", () => {
      beforeEach(async () => {
        await store.put("key", bytes(1000));
      });
      test.each([
        ["the beginning", { offset: 0, length: 10 }, 0, 10],
        ["the middle", { offset: 400, length: 200 }, 400, 600],
        ["up to the end", { offset: 900, length: 100 }, 900, 1000],
        ["past the end, cut there", { offset: 900, length: 1000 }, 900, 1000],
        ["one byte", { offset: 999, length: 1 }, 999, 1000],
        ["all", { offset: 0, length: 1000 }, 0, 1000],
        ["from the end", { offset: -10, length: 10 }, 990, 1000],
        ["from the end, whatever the length", { offset: -10, length: 1 }, 990, 1000],
        ["more from the end than there is", { offset: -5000, length: 5000 }, 0, 1000],
      ])("%s", async (_, range, from, to) => {
        const result = await store.get("key", { range });
        expect(result.size).toBe(1000);
        await expectBody(result, bytes(1000).slice(from, to));
      });

      test.each([
        ["at the end", { offset: 1000, length: 1 }],
        ["past the end", { offset: 5000, length: 10 }],
        ["empty", { offset: 10, length: 0 }],
        ["of negative length", { offset: 10, length: -5 }],
        ["of half bytes", { offset: 0.5, length: 10 }],
      ])("a range %s is refused", async (_, range) => {
        await expectKind(store.get("key", { range }), "invalid-request");
      });

      test("of a large object, across the chunks of its body", async () => {
        const whole = bytes(3 * MIB);
        await store.put("large", whole);
        const result = await store.get("large", { range: { offset: MIB - 7, length: MIB + 20 } });
        await expectBody(result, whole.slice(MIB - 7, 2 * MIB + 13));
      });
    });

    describe("ifMatch", () => {
      test("reads the version it names, and no other", async () => {
        await store.put("key", bytes(10, 1));
        const { etag, body } = await store.get("key");
        await collect(body, 10);
        await expectBody(await store.get("key", { ifMatch: etag }), bytes(10, 1));
        await expectBody(
          await store.get("key", { ifMatch: etag, range: { offset: 2, length: 3 } }),
          bytes(10, 1).slice(2, 5),
        );
        await store.put("key", bytes(10, 2));
        await expectKind(store.get("key", { ifMatch: etag }), "precondition-failed");
        await store.delete(["key"]);
        await expectKind(store.get("key", { ifMatch: etag }), "not-found");
      });
    });

    describe("putStream", () => {
      test.each([
        ["0 bytes", 0, 1],
        ["1 byte", 1, 1],
        ["many small chunks", 50_000, 13],
        ["12 MiB", 12 * MIB, 100_003],
        ["12 MiB in one chunk", 12 * MIB, 12 * MIB],
      ])("%s", async (_, size, chunk) => {
        await store.putStream("key", stream(bytes(size), chunk));
        expect(await keys("")).toEqual(["key"]);
        expectBytes(await read("key"), bytes(size));
      });

      test("empty chunks are nothing", async () => {
        await store.putStream(
          "key",
          (async function* () {
            yield new Uint8Array();
            yield bytes(3);
            yield new Uint8Array();
          })(),
        );
        expectBytes(await read("key"), bytes(3));
      });

      test("nothing is visible before the end", async () => {
        const seen: string[][] = [];
        await store.putStream(
          "key",
          (async function* () {
            yield bytes(6 * MIB);
            seen.push(await keys(""));
            await expectKind(store.get("key"), "not-found");
            yield bytes(6 * MIB);
            seen.push(await keys(""));
          })(),
        );
        expect(seen).toEqual([[], []]);
        expect(await keys("")).toEqual(["key"]);
      });

      test.each([
        ["at once", 0],
        ["early", 2],
        ["late", 11],
      ])("failing %s stores nothing and leaves the old object", async (_, after) => {
        await store.put("old", bytes(7));
        const failure = new Error("the source failed");
        expect(await rejection(store.putStream("old", failing(bytes(MIB), after, failure)))).toBe(failure);
        expect(await rejection(store.putStream("new/key", failing(bytes(MIB), after, failure)))).toBe(
          failure,
        );
        expect(await keys("")).toEqual(["old"]);
        expectBytes(await read("old"), bytes(7));
      });

      test("aborted midway stores nothing", async () => {
        const aborter = new AbortController();
        const reason = new Error("enough");
        const source = (async function* () {
          yield bytes(6 * MIB);
          aborter.abort(reason);
          yield bytes(6 * MIB);
        })();
        expect(await rejection(store.putStream("key", source, { signal: aborter.signal }))).toBe(reason);
        expect(await keys("")).toEqual([]);
        await expectKind(store.get("key"), "not-found");
      });

      test("aborted after the last chunk stores nothing", async () => {
        const aborter = new AbortController();
        const source = (async function* () {
          yield bytes(100);
          aborter.abort();
        })();
        await rejection(store.putStream("key", source, { signal: aborter.signal }));
        expect(await keys("")).toEqual([]);
      });

      test("is aborted even while its source never answers", async () => {
        const aborter = new AbortController();
        const reason = new Error("enough");
        const source = (async function* () {
          yield bytes(10);
          queueMicrotask(() => aborter.abort(reason));
          await new Promise(() => undefined);
        })();
        expect(await rejection(store.putStream("key", source, { signal: aborter.signal }))).toBe(reason);
        expect(await keys("")).toEqual([]);
      });
    });

    describe("list", () => {
      // In order of UTF-8: "." and "-" before "/", "0" behind it; U+FF5E before U+1F642, which UTF-16 has the other way round.
      const ordered = [
        "a",
        "b-",
        "b.",
        "b.x/y",
        "b/0",
        "b/1/2",
        "b/1/3/4",
        "b/10",
        "b0",
        "c d/e",
        "snapshots/01",
        "wal/0/01",
        "wal/0/02",
        "wal/0/10",
        "wal/1/01-10",
        "wal/10/x",
        "z",
        "~",
        "é",
        "\uff5e",
        "\u{1f642}/x",
      ];
      beforeEach(async () => {
        for (const key of [...ordered].reverse()) await store.put(key, bytes(key.length));
      });

      test("ascends by the bytes of the keys, through all folders", async () => {
        expect(await keys("")).toEqual(ordered);
      });

      test("tells size, time and age", async () => {
        for (const info of await all(store.list(""))) {
          expect(info.size).toBe(info.key.length);
          expect(info.age).toBeGreaterThanOrEqual(0);
          expect(info.lastModified).toBeGreaterThan(Date.UTC(2020, 0));
        }
      });

      test.each([
        "b",
        "b/",
        "b.",
        "b/1",
        "b/1/",
        "b/1/3/4",
        "wal/0/0",
        "wal/1",
        "wal/0/01",
        "w",
        "c ",
        "é",
        "\u{1f642}",
        "none",
        "none/",
        "a/",
        "a/b",
        "z/none/of/this",
      ])("under the prefix %j", async (prefix) => {
        expect(await keys(prefix)).toEqual(ordered.filter((key) => key.startsWith(prefix)));
      });

      test.each(["/", "//", "..", "../", "./", "wal/../wal/", "wal//", "nul\0/"])(
        "the prefix %j, which no key has, lists nothing",
        async (prefix) => {
          expect(await keys(prefix)).toEqual([]);
        },
      );

      test("starts after any string, there or not", async () => {
        const places = ordered.flatMap((key) => [key, `${key}!`, `${key}/`, `${key}/zzz`, key.slice(0, -1)]);
        const check = async (startAfter: string) => {
          const expected = ordered.filter((key) => startAfter === "" || compareKeys(key, startAfter) > 0);
          expect(await keys("", startAfter), startAfter).toEqual(expected);
          const inWal = expected.filter((key) => key.startsWith("wal/"));
          expect(await keys("wal/", startAfter), startAfter).toEqual(inWal);
        };
        await Promise.all(places.map(check));
      });

      test("may be left early, and of a store that is empty gives nothing", async () => {
        for await (const info of store.list("b")) {
          expect(info.key).toBe("b-");
          break;
        }
        expect(await keys("nothing here")).toEqual([]);
      });

      test("does not see what was deleted, and sees what was put again", async () => {
        await store.delete(["b/1/2", "b/1/3/4", "b/10", "a"]);
        expect(await keys("b/")).toEqual(["b/0"]);
        await store.put("b/1/2", bytes(1));
        expect(await keys("b/")).toEqual(["b/0", "b/1/2"]);
      });
    });

    test(`${manyKeys} keys, over all pages, and deleted in one call`, async () => {
      const names = Array.from(
        { length: manyKeys },
        (_, i) => `wal/0/${i.toString(16).padStart(16, "0")}.wal.zst`,
      );
      for (let i = 0; i < manyKeys; i += 50) {
        await Promise.all(names.slice(i, i + 50).map((key) => store.put(key, bytes(3))));
      }
      expect(await keys("wal/0/")).toEqual(names);
      const half = Math.floor(manyKeys / 2);
      expect(await keys("wal/", names[half])).toEqual(names.slice(half + 1));
      const kept = names[half]!;
      await store.delete(names.filter((key) => key !== kept));
      expect(await keys("")).toEqual([kept]);
    });

    describe("delete", () => {
      test("takes what is there and does not mind what is not", async () => {
        for (const key of ["a", "b/c", "b/d", "e/f/g"]) await store.put(key, bytes(1));
        await store.delete(["none", "b/c", "b/c", "b", "b/none", "a/none", "e/f/g", "none/at/all"]);
        expect(await keys("")).toEqual(["a", "b/d"]);
        await expectKind(store.get("b/c"), "not-found");
        await store.delete([]);
        await store.delete(["a", "b/d"]);
        expect(await keys("")).toEqual([]);
      });

      test("refuses an illegal key before it deletes any", async () => {
        await store.put("a", bytes(1));
        await expectKind(store.delete(["a", "../b"]), "invalid-request");
        expect(await keys("")).toEqual(["a"]);
      });

      test("puts and deletes of neighbours do not disturb each other", async () => {
        const names = Array.from({ length: 8 }, (_, i) => `deep/er/${i}/key`);
        await Promise.all(
          names.map(async (key) => {
            for (let i = 0; i < 20; i++) {
              await store.put(key, bytes(10), i % 2 === 0 ? { ifNoneMatch: "*" } : {});
              await store.delete([key]);
            }
            await store.put(key, bytes(10));
          }),
        );
        expect(await keys("")).toEqual(names);
      });
    });

    describe("an aborted signal", () => {
      const reason = new Error("not wanted any more");
      const aborted = { signal: AbortSignal.abort(reason) };

      test("stops every method before it begins", async () => {
        await store.put("key", bytes(1));
        expect(await rejection(store.put("new", bytes(1), aborted))).toBe(reason);
        expect(await rejection(store.put("new", bytes(1), { ...aborted, ifNoneMatch: "*" }))).toBe(reason);
        expect(await rejection(store.putStream("new", stream(bytes(1)), aborted))).toBe(reason);
        expect(await rejection(store.get("key", aborted))).toBe(reason);
        expect(await rejection(store.delete(["key"], aborted))).toBe(reason);
        expect(await rejection(store.capabilities(aborted))).toBe(reason);
        expect(await rejection(all(store.list("", aborted)))).toBe(reason);
        expect(await keys("")).toEqual(["key"]);
      });

      test("stops a put while its source is read", async () => {
        const aborter = new AbortController();
        const chunks = async function* () {
          yield bytes(10);
          aborter.abort(reason);
          yield bytes(10);
        };
        const put = store.put("key", { size: 20, chunks }, { signal: aborter.signal });
        expect(await rejection(put)).toBe(reason);
        expect(await keys("")).toEqual([]);
      });

      test("stops a body while it is read", async () => {
        await store.put("key", bytes(5 * MIB));
        const aborter = new AbortController();
        const { body } = await store.get("key", { signal: aborter.signal });
        const reading = (async () => {
          for await (const _ of body) aborter.abort(reason);
        })();
        expect(await rejection(reading)).toBe(reason);
      });

      test("stops a list between two objects", async () => {
        for (const key of ["a", "b/c", "d"]) await store.put(key, bytes(1));
        const aborter = new AbortController();
        const listing = (async () => {
          for await (const _ of store.list("", { signal: aborter.signal })) aborter.abort(reason);
        })();
        expect(await rejection(listing)).toBe(reason);
      });

      test("does nothing after the end", async () => {
        const aborter = new AbortController();
        await store.put("key", bytes(10), { signal: aborter.signal });
        await expectBody(await store.get("key", { signal: aborter.signal }), bytes(10));
        aborter.abort();
        expectBytes(await read("key"), bytes(10));
      });
    });

    test("says where it is, and what it can do", async () => {
      expect(store.url).toMatch(/^[a-z0-9]+:/);
      const { conditionalCreate } = await store.capabilities();
      expect(["atomic", "none"]).toContain(conditionalCreate);
      expect(await keys("")).toEqual([]);
    });
  });
}

/** Bytes that differ from place to place and from seed to seed. */
export function bytes(length: number, seed = 0): Uint8Array {
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++) out[i] = i ^ (i >>> 8) ^ (i >>> 16) ^ (seed * 37);
  return out;
}

async function* stream(whole: Uint8Array, chunk = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < whole.length; at += chunk) yield whole.slice(at, at + chunk);
}

function sourceOf(whole: Uint8Array, chunk: number) {
  return { size: whole.length, chunks: () => stream(whole, chunk) };
}

/** Gives `chunk` `times` times, then throws. */
async function* failing(chunk: Uint8Array, times: number, failure = new Error("the source failed")) {
  for (let i = 0; i < times; i++) yield chunk;
  throw failure;
}

async function all(list: AsyncIterable<ObjectInfo>): Promise<ObjectInfo[]> {
  const infos: ObjectInfo[] = [];
  for await (const info of list) infos.push(info);
  return infos;
}

/** As toEqual, which takes seconds for megabytes. */
function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  expect(at, "first byte that differs").toBe(-1);
}

async function expectBody(result: GetResult, expected: Uint8Array): Promise<void> {
  expectBytes(await collect(result.body, 64 * MIB), expected);
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error("it did not reject");
    },
    (error: unknown) => error,
  );
}

export async function expectKind(promise: Promise<unknown>, kind: StoreErrorKind): Promise<void> {
  expect(await rejection(promise)).toMatchObject({ code: "SLUICE_STORE", kind });
}
