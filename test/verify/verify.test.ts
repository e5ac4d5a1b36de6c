import { beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../node/clock.ts";
import {
  type Finding,
  type GetOptions,
  type GetResult,
  type ListOptions,
  MemoryStore,
  StoreError,
} from "../../node/index.ts";
import { lineageKey } from "../../src/format/keys.ts";
import { verifyReplica } from "../../src/verify.ts";
import { asNewer, codecs, partsOf, repackFirstBlock, someId } from "../format/objects.ts";
import {
  FIRST,
  flipPage,
  LAST,
  level0,
  MIDDLE,
  makeHistory,
  merged,
  type Objects,
  rewrite,
  snapshots,
  verified,
} from "./history.ts";

let whole: Objects;
beforeAll(async () => {
  whole = await makeHistory();
});

/** The replica with something done to it. */
function damaged(...changes: ((objects: Objects) => void)[]): Objects {
  const objects = new Map(whole);
  for (const change of changes) change(objects);
  return objects;
}
const without =
  (...keys: string[]) =>
  (objects: Objects) => {
    for (const key of keys) {
      expect(objects.has(key)).toBe(true);
      objects.delete(key);
    }
  };
const withoutLevel1 = without(...merged);
const withoutLevel0 = without(...range(FIRST + 1, LAST).map(level0));

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

async function expectFindings(
  objects: Objects,
  ...expected: Partial<Finding>[]
): Promise<readonly Finding[]> {
  const { ok, findings } = await verified(objects);
  expect(findings).toMatchObject(expected);
  expect(findings).toHaveLength(expected.length);
  expect(ok).toBe(expected.every(({ problem }) => problem === "stray"));
  return findings;
}

describe("a sound replica", () => {
  test("of all levels", async () => {
    const report = await verified(whole);
    expect(report).toMatchObject({
      ok: true,
      quick: false,
      objects: 13,
      oldest: { txid: FIRST },
      newest: { txid: LAST },
      restored: null,
      findings: [],
    });
    expect(report.pages).toBeGreaterThan(1000);
    expect(report.bytes).toBeGreaterThan(100_000);
  });

  test.each<[string, () => Objects]>([
    ["of level 0 alone", () => damaged(withoutLevel1)],
    ["of level 1 alone", () => damaged(withoutLevel0)],
    ["whose older level 0 retention took", () => damaged(without(level0(3), level0(4)))],
    [
      "whose older history retention took",
      () => damaged(without(snapshots[0], merged[0], ...[3, 4, 5, 6].map(level0))),
    ],
    ["of one snapshot", () => damaged(without(snapshots[1], snapshots[2]))],
  ])("%s", async (_, objects) => {
    await expectFindings(objects());
    expect(await verified(objects(), { quick: true })).toMatchObject({ ok: true, quick: true, pages: 0 });
  });

  test("says how far it is", async () => {
    const seen: number[] = [];
    let total = 0;
    await verified(whole, {
      onProgress: ({ bytes, totalBytes, objects, totalObjects }) => {
        seen.push(bytes);
        total = totalBytes;
        expect([objects <= totalObjects, totalObjects]).toEqual([true, 13]);
      },
    });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(total);
  });

  test("is nothing where there is none", async () => {
    expect(await verified(new Map())).toMatchObject({ ok: false, lineage: null, findings: [], newest: null });
  });

  test("ends when told to", async () => {
    const stop = new AbortController();
    const onProgress = () => stop.abort(new Error("enough"));
    await expect(verified(whole, { onProgress, signal: stop.signal })).rejects.toThrow("enough");
  });

  test("takes no option that it does not know", async () => {
    await expect(verified(whole, { fast: true } as never)).rejects.toMatchObject({ field: "fast" });
  });
});

/** A byte at a place, changed. */
const at = (place: (parts: ReturnType<typeof partsOf>) => number) => (bytes: Uint8Array) => {
  const copy = bytes.slice();
  const offset = place(partsOf(bytes));
  copy[offset]! ^= 0x40;
  return copy;
};
const regions: [string, Finding["part"], (bytes: Uint8Array) => Uint8Array][] = [
  ["the header's magic", "header", at(() => 0)],
  ["the header's length", "header", at(() => 4)],
  ["the header's JSON", "header", at(({ header }) => header)],
  ["the header's writer", "id", inText('"writer":"', 12)],
  ["the first block", "block", at(({ blocks }) => blocks)],
  // It may unpack all the same, to another page.
  ["the last block's end", expect.stringMatching(/^(block|page)$/) as "block", at(({ index }) => index - 5)],
  ["the index' magic", "index", at(({ index }) => index)],
  ["the index' length", "index", at(({ index }) => index + 4)],
  ["the entry count", "index", at(({ index }) => index + 8)],
  ["the block count", "index", at(({ index }) => index + 12)],
  ["a page number", "id", at(({ pgnos }) => pgnos)],
  ["a hash", "id", at(({ hashes }) => hashes + 8)],
  ["a compressed length", "index", at(({ blockTable }) => blockTable)],
  ["a raw length", "index", at(({ blockTable }) => blockTable + 4)],
  ["the trailer's magic", "trailer", at(({ trailer }) => trailer)],
  ["the trailer's length", "trailer", at(({ trailer }) => trailer + 4)],
  ["the index' offset", "trailer", at(({ trailer }) => trailer + 8)],
  ["the index' size", "trailer", at(({ trailer }) => trailer + 16)],
  ["the id", "id", at(({ trailer }) => trailer + 24)],
  ["the mark", "trailer", at(({ trailer }) => trailer + 40)],
  ["a cut end", "trailer", (bytes) => bytes.slice(0, -100)],
  ["a cut to nearly nothing", "size", (bytes) => bytes.slice(0, 30)],
  ["bytes behind it", "trailer", (bytes) => new Uint8Array(Buffer.concat([bytes, Buffer.alloc(8)]))],
  ["bytes before it", "header", (bytes) => new Uint8Array(Buffer.concat([Buffer.alloc(8), bytes]))],
  ["a page inside sound zstd", "page", (bytes) => repackFirstBlock(bytes, flip(-1))],
];

function inText(text: string, behind: number) {
  return (bytes: Uint8Array) => {
    const copy = bytes.slice();
    const offset = Buffer.from(bytes).indexOf(text) + behind;
    copy[offset] = copy[offset] === 0x30 ? 0x31 : 0x30;
    return copy;
  };
}

function flip(offset: number) {
  return (raw: Uint8Array) => {
    raw[offset < 0 ? raw.length + offset : offset]! ^= 1;
  };
}

describe.each([
  ["the first snapshot", () => snapshots[0], FIRST],
  ["the last snapshot", () => snapshots[2], LAST],
  ["a segment", () => level0(7), 7],
  ["the last segment", () => level0(LAST), LAST],
  ["a merged segment", () => merged[0], FIRST + 1],
] as const)("%s", (_, which, txid) => {
  test.each(regions)("with damage to %s", async (_, part, change) => {
    const key = which();
    // Whether or not a higher level makes up for it.
    for (const objects of [damaged(), ...(key === merged[0] ? [] : [damaged(withoutLevel1)])]) {
      objects.set(key, change(objects.get(key)!));
      await expectFindings(objects, { problem: "damaged", key, part, txid });
    }
  });

  test("that is not known to this release", async () => {
    const objects = damaged(withoutLevel1);
    if (which() === merged[0]) objects.set(merged[0], whole.get(merged[0])!);
    objects.set(which(), asNewer(objects.get(which())!));
    const found = await expectFindings(objects, { problem: "unsupported", key: which(), txid });
    expect(found[0]!.message).toContain("format 2");
  });

  test("of another history", async () => {
    const objects = damaged(withoutLevel1);
    objects.set(which(), await rewrite(whole.get(which())!, { header: { lineage: someId } }));
    // The claim says which one is the other.
    await expectFindings(objects, { problem: "foreign", key: which(), txid });
  });
});

describe("frames inside sound zstd, with a sound index", () => {
  test.each([
    ["salts", 32 + 8],
    ["checksum", 32 + 16],
    ["checksum of a later frame", 32 + 3 * (24 + 1024) + 20],
    ["page number", 32 + 3],
    ["commit mark", 32 + 4],
    ["WAL header", 16],
    ["WAL checksum", 24],
  ])("%s", async (_, offset) => {
    const objects = damaged(withoutLevel1);
    const key = level0(7);
    objects.set(key, repackFirstBlock(objects.get(key)!, flip(offset)));
    await expectFindings(objects, { problem: "damaged", key, part: "block", txid: 7 });
  });
});

describe("the chain", () => {
  test.each([3, 5, 9])("without transaction %i", async (txid) => {
    const objects = damaged(withoutLevel1, without(level0(txid)));
    const next = txid === 6 ? snapshots[1] : level0(txid + 1);
    await expectFindings(objects, { problem: "gap", key: next, txid });
  });

  test("without its last segment, which a snapshot stands behind", async () => {
    await expectFindings(damaged(withoutLevel1, without(level0(LAST))), {
      problem: "gap",
      key: snapshots[2],
      txid: LAST,
    });
  });

  test("without a merged segment and its parts", async () => {
    const objects = damaged(without(merged[0], ...[3, 4, 5, 6].map(level0)));
    await expectFindings(objects, { problem: "gap", key: snapshots[1], txid: 3 });
  });

  test("without a snapshot", async () => {
    await expectFindings(damaged(without(...snapshots)), { problem: "no-snapshot", key: null, txid: 0 });
  });

  test("with two segments in each other's place", async () => {
    const objects = damaged(withoutLevel1);
    objects.set(level0(7), whole.get(level0(9))!);
    objects.set(level0(9), whole.get(level0(7))!);
    await expectFindings(
      objects,
      { problem: "damaged", key: level0(7), part: "header", txid: 7 },
      { problem: "damaged", key: level0(9), part: "header", txid: 9 },
    );
  });

  test("with a fork: a segment that another did not continue", async () => {
    const objects = damaged(withoutLevel1);
    objects.set(level0(8), await rewrite(whole.get(level0(8))!, { pages: (pages) => flipPage(pages) }));
    await expectFindings(objects, { problem: "fork", key: level0(9), txid: 8 });
  });

  test("with a snapshot of another position", async () => {
    const objects = damaged(withoutLevel1);
    objects.set(
      snapshots[1],
      await rewrite(whole.get(snapshots[1])!, { header: { to: { txid: MIDDLE, id: someId } } }),
    );
    await expectFindings(objects, { problem: "fork", key: snapshots[1], txid: MIDDLE });
  });

  test("with a stray: another segment than the one that was merged", async () => {
    const objects = damaged();
    objects.set(level0(LAST), await rewrite(whole.get(level0(LAST))!, { pages: (pages) => flipPage(pages) }));
    await expectFindings(objects, { problem: "stray", key: level0(LAST), txid: LAST });
  });

  test("with a segment that reaches beyond a merged one", async () => {
    const objects = damaged();
    const bytes = await rewrite(whole.get(level0(6))!, { header: { to: { txid: 7, id: null } } });
    objects.set(level0(6), bytes);
    await expectFindings(objects, { problem: "stray", key: level0(6), txid: 6 });
  });

  test("that begins with another state than its history", async () => {
    const objects = damaged(withoutLevel0, without(...merged, snapshots[1], snapshots[2]));
    const bytes = await rewrite(whole.get(snapshots[0])!, { header: { to: { txid: 0, id: someId } } });
    objects.delete(snapshots[0]);
    const key = snapshots[0].replace("2", "0");
    objects.set(key, bytes);
    await expectFindings(objects, { problem: "fork", key, txid: 0 });
  });

  test("of two page sizes", async () => {
    const objects = damaged(withoutLevel1);
    const wide = (page: Uint8Array) => new Uint8Array(Buffer.concat([page, page]));
    objects.set(
      level0(7),
      await rewrite(whole.get(level0(7))!, {
        header: { pageSize: 2048 },
        pages: (pages) => new Map([...pages].map(([pgno, page]) => [pgno, wide(page)])),
      }),
    );
    await expectFindings(objects, { problem: "damaged", key: level0(7), part: "header", txid: 7 });
  });
});

describe("contents", () => {
  test("of a snapshot that is not what leads to it", async () => {
    const objects = damaged();
    objects.set(
      snapshots[2],
      await rewrite(whole.get(snapshots[2])!, { pages: (pages) => flipPage(pages, 7) }),
    );
    const [found] = await expectFindings(objects, { problem: "different", key: snapshots[2], txid: LAST });
    expect(found!.message).toMatch(/: 1 pages .*: 7$/);
  });

  test("of a snapshot that what follows does not go on from", async () => {
    const objects = damaged();
    objects.set(
      snapshots[0],
      await rewrite(whole.get(snapshots[0])!, { pages: (pages) => flipPage(pages, 5) }),
    );
    await expectFindings(objects, { problem: "different", key: snapshots[1], txid: MIDDLE });
  });

  test("of a merged segment with a page that is not the newest", async () => {
    const objects = damaged();
    objects.set(merged[1], await rewrite(whole.get(merged[1])!, { pages: (pages) => flipPage(pages) }));
    await expectFindings(objects, { problem: "different", key: merged[1], txid: MIDDLE + 1 });
  });

  test("of a merged segment that lacks a page", async () => {
    const objects = damaged();
    const lacking = (pages: Map<number, Uint8Array>) => {
      pages.delete(2);
      return pages;
    };
    objects.set(merged[0], await rewrite(whole.get(merged[0])!, { pages: lacking }));
    await expectFindings(objects, { problem: "different", key: merged[0], txid: FIRST + 1 });
  });

  test("of a merged segment alone, by the snapshot behind it", async () => {
    const objects = damaged(withoutLevel0);
    objects.set(merged[1], await rewrite(whole.get(merged[1])!, { pages: (pages) => flipPage(pages) }));
    await expectFindings(objects, { problem: "different", key: snapshots[2], txid: LAST });
  });

  test("are found by indexes alone", async () => {
    const objects = damaged();
    objects.set(
      snapshots[2],
      await rewrite(whole.get(snapshots[2])!, { pages: (pages) => flipPage(pages, 7) }),
    );
    const { findings, pages } = await verified(objects, { quick: true });
    expect(findings).toMatchObject([{ problem: "different", key: snapshots[2] }]);
    expect(pages).toBe(0);
  });
});

describe("the claim", () => {
  test("is missing", () =>
    expectFindings(damaged(without(lineageKey)), { problem: "claim", key: lineageKey }));

  test.each(["", "{", "null", '{"version":2}'])("is %j", async (text) => {
    const objects = damaged();
    objects.set(lineageKey, new TextEncoder().encode(text));
    await expectFindings(objects, { problem: "claim", key: lineageKey });
  });
});

class VanishingStore extends MemoryStore {
  /** How often a key is listed, and yet not there. */
  readonly vanished = new Map<string, number>();

  override async get(key: string, options?: GetOptions): Promise<GetResult> {
    const times = this.vanished.get(key) ?? 0;
    if (times === 0) return super.get(key, options);
    this.vanished.set(key, times - 1);
    throw new StoreError("not-found", `${key} is gone`, { key });
  }
}

describe("an object that is listed and gone", () => {
  async function look(times: number) {
    const store = new VanishingStore();
    for (const [key, bytes] of whole) await store.put(key, bytes);
    store.vanished.set(level0(7), times);
    return verifyReplica(store, { codecs, clock: systemClock }, {}, null);
  }

  test("was compacted away: all is looked at again", async () => {
    expect(await look(1)).toMatchObject({ ok: true, objects: 13 });
  });

  test("is no damage, however often retention takes one while others are read, and what was read is not read again", async () => {
    class Tended extends MemoryStore {
      readonly reads: string[] = [];
      /** Merged segments stand for level 0, of which the first that is read after a listing goes. */
      takes = false;
      #mayTake = false;

      override async *list(prefix: string, options?: ListOptions) {
        this.#mayTake = this.takes;
        yield* super.list(prefix, options);
      }
      override async get(key: string, options?: GetOptions): Promise<GetResult> {
        this.reads.push(key);
        if (this.#mayTake && key.startsWith("wal/0/")) {
          this.#mayTake = false;
          await this.delete([key]);
        }
        return super.get(key, options);
      }
    }
    async function look(takes: boolean) {
      const store = new Tended();
      for (const [key, bytes] of whole) await store.put(key, bytes);
      store.takes = takes;
      const report = await verifyReplica(store, { codecs, clock: systemClock }, {}, null);
      expect(report).toMatchObject({ ok: true, findings: [] });
      return store.reads.filter((key) => key === snapshots[0]).length;
    }
    expect(await look(true)).toBe(await look(false));
  });

  test("and is not listed any more is no damage, even where no try comes to an end before another goes", async () => {
    class Changing extends VanishingStore {
      override async *list(prefix: string, options?: ListOptions) {
        if (prefix !== level0(7)) yield* super.list(prefix, options);
      }
    }
    const store = new Changing();
    for (const [key, bytes] of whole) await store.put(key, bytes);
    store.vanished.set(level0(7), 1000);
    const verified = verifyReplica(store, { codecs, clock: systemClock }, {}, null);
    await expect(verified).rejects.toMatchObject({ kind: "not-found", detail: { key: level0(7) } });
  });

  test("and stays so is missing", async () => {
    expect((await look(1000)).findings).toMatchObject([{ problem: "missing", key: level0(7), txid: 7 }]);
  });
});
